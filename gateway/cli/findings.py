"""How the independent readers' findings are told."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.cli.voice import OK, PROBLEM, Voice
from gateway.store.findings import Finding, Severity

_WORDS: dict[Severity, tuple[str, str]] = {"error": ("✗ 错误", "✗ error"), "warning": ("⚠ 警告", "⚠ warning"), "note": ("· 说明", "· note")}
MAX_TOLD = 200  # a damaged database may give one finding a row; JSON has them all


def tell(findings: Sequence[Finding], voice: Voice) -> int:
    """One line a finding; the exit code they amount to."""
    for finding in findings[:MAX_TOLD]:
        zh, en = _WORDS[finding.severity]
        voice.say(f"{zh}  {finding.where}: {finding.what}", f"{en}  {finding.where}: {finding.what}")
    if len(findings) > MAX_TOLD:
        voice.say(f"…… 另有 {len(findings) - MAX_TOLD} 项，见 --json", f"... and {len(findings) - MAX_TOLD} more: see --json")
    return PROBLEM if any(finding.severity == "error" for finding in findings) else OK


def findings_value(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """Findings as programs read them."""
    return [{"severity": finding.severity, "where": finding.where, "what": finding.what} for finding in findings]
