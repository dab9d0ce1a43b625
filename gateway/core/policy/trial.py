"""Asking a policy the questions its own file holds. A wrong answer keeps it from ever being in force."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.core.policy.decide import decide
from gateway.core.policy.model import Case, Policy
from gateway.core.policy.question import Approval, PartFacts, Party, Question
from gateway.core.policy.toml_table import Source
from gateway.core.policy.verdict import Hold, Refusal, Verdict

_AT = datetime(2026, 1, 1, tzinfo=UTC)  # any moment does: no rule knows the calendar
_COVERS = "sha256:" + "0" * 64
_SUITES = ("gm-1", "intl-1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One test and what came of it."""

    case: Case
    verdict: str
    rules: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether verdict and rule are the ones expected."""
        return self.verdict == self.case.expect and self.case.rule in self.rules


def trials(policy: Policy) -> Iterator[Trial]:
    """Every test of the policy, asked in order."""
    for case in policy.tests:
        verdict = decide(policy, _question(policy, case))
        yield Trial(case=case, verdict=_word(verdict), rules=tuple(reason.rule for reason in verdict.reasons))


def run_tests(policy: Policy, source: Source) -> None:
    """Raises BadConfiguration naming the first test whose answer is not the one expected."""
    for index, trial in enumerate(trials(policy)):
        if not trial.passed:
            case, got = trial.case, f"{trial.verdict} by {', '.join(trial.rules) or 'no rule'}"
            source.complain(
                f"tests[{index}].expect",
                f"test {case.name!r} expects {case.expect} by {case.rule}, the policy says {got}",
                "mend the rule or the test",
            )


def _word(verdict: Verdict) -> str:
    if isinstance(verdict, Refusal):
        return "refusal"
    return "hold" if isinstance(verdict, Hold) else "clearance"


def _question(policy: Policy, case: Case) -> Question:
    """The case as a question; whoever it names may hold every level, so that only the policy speaks."""
    share, rest = divmod(case.size, len(case.types))
    parts = tuple(
        PartFacts(name=f"part-{index}", media_type=media_type, size=share + (rest if index == 0 else 0), digest=_COVERS)
        for index, media_type in enumerate(case.types)
    )
    return Question(
        side=case.side,
        level=case.level,
        urgency=case.urgency,
        metadata_digest=_COVERS,
        sender=_party(case.sender, case.sender_zone),
        recipients=tuple(_party(org, case.recipient_zone) for org in case.recipients),
        at=_AT,
        directory_version=1,
        directory_digest=_COVERS,
        parts=parts,
        expires=_AT + policy.longest_life,
        stamped=True,
        approvals=tuple(Approval(by=f"person-{index}", covers=_COVERS) for index in range(case.approvals)),
    )


def _party(org: str, zone: str) -> Party:
    return Party(org=org, zone=zone, highest_level="top-secret", suites=_SUITES)
