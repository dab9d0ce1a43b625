"""``yizhan audit``: prove the whole log, with none of the code that writes it (``verify``); begin a new one after a loss (``new-log``)."""

from __future__ import annotations

import argparse

from crypto.notes import LogVerifier
from gateway.cli.audit_new_log import add_new_log
from gateway.cli.command import Commands, bad_input, home_argument, json_argument, open_home
from gateway.cli.findings import findings_value, tell
from gateway.cli.voice import Voice
from gateway.core.errors import BadInput
from gateway.core.explain import explain
from gateway.store.audit import verify_log


def add(parser: argparse.ArgumentParser, commands: Commands) -> None:
    """Say what it takes."""
    pick = commands.pick
    group = Commands(parser, commands.voice, name="act")
    verify = group.add("verify", "核验整个日志", "prove the whole log")
    home_argument(verify, commands)
    text = pick(
        "日志公钥（交换目录 log_keys），默认用本网关的密钥", "the log's public key, as the directory lists it; default our own key's"
    )
    verify.add_argument("--vkey", metavar="VKEY", help=text)
    json_argument(verify, commands)
    verify.set_defaults(run=run)
    add_new_log(group.add("new-log", "日志受损后另起新日志", "begin a new log after a loss"), commands)


def run(arguments: argparse.Namespace, voice: Voice) -> int:
    """Verify and tell what was found."""
    home = open_home(arguments)
    origin = home.log_origin()
    if origin is None:
        raise BadInput("no log yet", reasons=(explain("cli/no-database", place=home.database),))
    with bad_input():
        verifier = LogVerifier.from_vkey(arguments.vkey) if arguments.vkey else home.log_key().verifier
    report = verify_log(home.database, home.mark, verifier.vkey, origin)
    earlier = [{"origin": before, "size": size} for before, size in report.earlier]
    value = {"ok": report.ok, "origin": origin, "size": report.size, "root": report.root, "findings": findings_value(report.findings)}
    voice.value({**value, "earlier": earlier})
    code = tell(report.findings, voice)
    for before, size in report.earlier:
        voice.say(f"此前的日志 {before}：{size} 项", f"the log before it, {before}: {size} leaves")
    good = ("完整", "holds") if report.ok else ("不成立", "DOES NOT HOLD")
    voice.say(
        f"日志 {origin}：{report.size} 项，根 {report.root}：{good[0]}",
        f"log {origin}: {report.size} leaves, root {report.root}: {good[1]}",
    )
    return code
