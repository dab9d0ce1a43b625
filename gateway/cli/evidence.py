"""``yizhan evidence export``: what proves one exchange, as a folder to be checked without us."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from gateway.cli.command import Commands, home_argument, json_argument, now, open_home
from gateway.cli.voice import OK, Voice
from gateway.evidence import export_evidence


def add(parser: argparse.ArgumentParser, commands: Commands) -> None:
    """Say what it takes."""
    pick = commands.pick
    group = Commands(parser, commands.voice, name="act")
    export = group.add("export", "导出一次交换的证据", "export what proves one exchange")
    home_argument(export, commands)
    export.add_argument("exchange", metavar="ID", help=pick("交换编号，可只写开头", "exchange id, or its beginning"))
    export.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help=pick("新目录", "the new folder"))
    json_argument(export, commands)
    export.set_defaults(run=run)


def run(arguments: argparse.Namespace, voice: Voice) -> int:
    """Export and say where."""
    home = open_home(arguments)
    folder = asyncio.run(export_evidence(home, arguments.exchange, arguments.output.absolute(), at=now()))
    files = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    voice.value({"folder": str(folder), "files": files})
    voice.say(
        f"证据已导出：{folder}\n核验方法见 {folder / 'VERIFY.md'}", f"evidence exported: {folder}\nhow to check it: {folder / 'VERIFY.md'}"
    )
    return OK
