"""``yizhan demo``: a small city of agencies on this machine exchanges real documents, and shows what an auditor would see."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crypto.suites import GM_1, SUITES
from gateway.cli.city import City
from gateway.cli.command import Commands
from gateway.cli.demo_story import AGENCIES, NAMES, Sent, Story, as_json, sha256
from gateway.cli.voice import OK, PROBLEM, Voice
from gateway.core.errors import BadInput
from gateway.core.explain import explain
from gateway.core.levels import LEVELS
from gateway.store.audit import AuditReport

STEPS_ZH = {
    "taken": "取文、查策略",
    "sealed": "签名、时间戳、加密",
    "accepted": "验证并接收",
    "delivered": "送达办公系统",
    "signed-for": "签收",
}
STEPS_EN = {
    "taken": "taken, policy asked",
    "sealed": "signed, timestamped, encrypted",
    "accepted": "verified and accepted",
    "delivered": "handed to the office system",
    "signed-for": "signed for",
}


def add(parser: argparse.ArgumentParser, commands: Commands) -> None:
    """Say what it takes."""
    pick = commands.pick
    parser.add_argument(
        "--dir", type=Path, metavar="DIR", help=pick("空目录；默认新建临时目录", "an empty folder; default a new temporary one")
    )
    parser.add_argument("--suite", choices=tuple(SUITES), default=GM_1.id, help=pick("密码套件", "cipher suite"))
    parser.add_argument("--once", action="store_true", help=pick("演示后即结束", "stop after the show"))
    parser.add_argument("--json", dest="json_file", type=Path, metavar="FILE", help=pick("把结果写入文件", "write the results to a file"))
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, voice: Voice) -> int:
    """Found the city, tell the story, show what came of it."""
    # A terminal that hangs up or a supervisor that says TERM must not leave the city's processes behind.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(PROBLEM))
    folder = _folder(arguments.dir)
    voice.say(f"驿站演示（套件 {arguments.suite}），目录 {folder}", f"Yizhan demo (suite {arguments.suite}) in {folder}")
    began = time.monotonic()
    voice.say("… 建立三家单位、时间戳机构与目录机构", "… founding three agencies, a time authority and a directory authority")
    with City(folder, AGENCIES, arguments.suite) as city:
        result, good = _show(Story(city, datetime.now(UTC).date()), voice)
        if arguments.json_file:
            arguments.json_file.write_text(as_json(result), encoding="utf-8")
        _summary(good=good, seconds=time.monotonic() - began, folder=folder, voice=voice)
        if not arguments.once and sys.stdout.isatty():
            _stay(city, voice)
    return OK if good else PROBLEM


def _folder(given: Path | None) -> Path:
    if given is None:
        return Path(tempfile.mkdtemp(prefix="yizhan-demo-"))
    folder = given.absolute()
    if folder.exists() and any(folder.iterdir()):
        raise BadInput(f"{folder} is not empty", reasons=(explain("cli/exists", place=folder),))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


# ---- the show --------------------------------------------------------------------------------------------------------------------


def _show(story: Story, voice: Voice) -> tuple[dict[str, Any], bool]:
    """Everything in order; the facts for a program, and whether all of it held."""
    sent = _exchange(story, voice)
    for each in sent:
        asyncio.run(story.trace(each))
        story.compare(each)
        _tell_exchange(each, voice)
    voice.say("… 把一份标为“秘密”的公文放入待发", "… putting a document marked 秘密 (a state secret) into an outbox")
    refused = story.refusal(story.secret())
    _tell_refusal(refused, voice)
    audits = story.audits()
    _tell_audits(audits, voice)
    tampering = list(story.tampering(sent[-1]))
    _tell_tampering(tampering, voice)
    good = (
        all(each.identical and set(each.states.values()) == {"SIGNED_FOR"} for each in sent)
        and bool(refused)
        and all(report.ok for report in audits.values())
        and all(found for _, found, _ in tampering)
    )
    return _facts(sent, refused, audits, tampering), good


def _exchange(story: Story, voice: Voice) -> list[Sent]:
    notice = story.budget_notice()
    voice.say(f"… {notice.sender.name} 发出《{notice.title}》", f"… {notice.sender.name} sends 《{notice.title}》")
    story.await_delivery(notice)
    story.sign_for(notice)
    reply, large = story.reply(), story.large()
    for each in (reply, large):
        voice.say(f"… {each.sender.name} 发出《{each.title}》", f"… {each.sender.name} sends 《{each.title}》")
    for each in (reply, large):
        story.await_delivery(each)
        story.sign_for(each)
    return [notice, reply, large]


def _facts(
    sent: list[Sent], refused: list[dict[str, str]], audits: dict[str, AuditReport], tampering: list[tuple[str, bool, str]]
) -> dict[str, Any]:
    return {
        "exchanges": [
            {
                "id": each.exchange,
                "from": each.sender.code,
                "to": [agency.code for agency in each.recipients],
                "level": each.level,
                "suite": each.suite,
                "states": each.states,
                "parts": [{"name": file.name, "sha256": sha256(file)} for file in each.files],
                "delivered": each.delivered,
                "receipts": each.receipts,
            }
            for each in sent
        ],
        "refused": [{"reasons": [{name: reason[name] for name in ("rule", "zh", "en", "fix")} for reason in refused]}],
        "audit": {org: {"size": report.size, "root": report.root, "ok": report.ok} for org, report in audits.items()},
        "tampering": [{"what": what, "found": found} for what, found, _ in tampering],
    }


# ---- telling ---------------------------------------------------------------------------------------------------------------------


def _tell_exchange(sent: Sent, voice: Voice) -> None:
    names = "、".join(agency.name for agency in sent.recipients)
    size = _size(sum(file.stat().st_size for file in sent.files))
    voice.say(f"\n《{sent.title}》", f"\n《{sent.title}》")
    voice.say(
        f"  {sent.sender.name} → {names}  密级 {LEVELS[sent.level].zh}  {size}  交换编号 {sent.exchange}",
        f"  {sent.sender.name} → {names}  level {sent.level}  {size}  exchange {sent.exchange}",
    )
    for at, agency, what in sent.path:
        zh, en = STEPS_ZH.get(what, f"收到回执 {what}"), STEPS_EN.get(what, f"receipt came in: {what}")
        voice.say(f"    {at[11:].rstrip('Z'):<12}  {agency}  {zh}", f"    {at[11:].rstrip('Z'):<12}  {agency}  {en}")
    for folder in sent.delivered.values():
        voice.say(f"  送达：{folder}", f"  delivered: {folder}")
    voice.say(
        f"  逐字节一致：{'是' if sent.identical else '否！'}    回执：{_receipts(sent)}",
        f"  byte-identical: {'yes' if sent.identical else 'NO'}    receipts: {_receipts(sent)}",
    )


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1_000_000 else f"{count / 1e3:.1f} KB"


def _receipts(sent: Sent) -> str:
    return ", ".join(f"{receipt['event']} ({NAMES[receipt['by']]})" for receipt in sent.receipts)


def _tell_refusal(reasons: list[dict[str, str]], voice: Voice) -> None:
    voice.say("\n标为“秘密”的公文被拒绝：", "\nThe document marked 秘密 was refused:")
    for reason in reasons:
        voice.say(
            f"  ✗ {reason['zh']}（{reason['rule']}）\n    → {reason['fix_zh']}",
            f"  ✗ {reason['en']} ({reason['rule']})\n    → {reason['fix']}",
        )


def _tell_audits(audits: dict[str, AuditReport], voice: Voice) -> None:
    voice.say("\n审计日志核验（audit verify）：", "\nAudit logs (audit verify):")
    for agency in AGENCIES:
        report = audits[agency.code]
        word = ("完好", "holds") if report.ok else ("不符！", "DOES NOT HOLD")
        voice.say(
            f"  {agency.name}：{report.size} 项，根 {report.root}，{word[0]}",
            f"  {agency.name}: {report.size} leaves, root {report.root}, {word[1]}",
        )


def _tell_tampering(tampering: list[tuple[str, bool, str]], voice: Voice) -> None:
    voice.say("\n在副本上各改动一个字节：", "\nOne byte flipped, each in a copy of the records:")
    zh = {"a byte of a stored document": "存储的公文", "a byte of the audit log": "审计日志"}
    for what, found, how in tampering:
        voice.say(f"  {zh[what]}：{'已发现' if found else '未发现！'}（{how}）", f"  {what}: {'found' if found else 'NOT FOUND'} ({how})")


def _summary(*, good: bool, seconds: float, folder: Path, voice: Voice) -> None:
    if good:
        voice.say(f"\n全部成立，用时 {seconds:.0f} 秒。", f"\nAll of it held, in {seconds:.0f} s.")
    else:
        voice.say("\n有不成立之处，见上。", "\nSomething did not hold; see above.")
    voice.say(f"日志与目录：{folder}", f"logs and folders: {folder}")


def _stay(city: City, voice: Voice) -> None:
    """Leave the city running for whoever wants to look around."""
    for agency in city.agencies:
        home = city.homes[agency.key]
        voice.say(
            f"  {agency.name}：办公目录 {home.office}，指标 http://{home.config.listen.ops}/metrics\n    yizhan trace --home {home.path}",
            f"  {agency.name}: office {home.office}, metrics http://{home.config.listen.ops}/metrics\n    yizhan trace --home {home.path}",
        )
    voice.say("城市继续运行；Ctrl-C 结束。", "The city stays up; Ctrl-C ends it.")
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        voice.say("正在结束 …", "ending …")
