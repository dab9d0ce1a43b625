"""``yizhan sign-for`` and ``yizhan return``: the human act on a delivered document, put where the folder office looks for it."""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path
from typing import NoReturn

from gateway.cli.command import Commands, home_argument, json_argument, open_home
from gateway.cli.office import inbox_folder
from gateway.cli.voice import OK, Voice
from gateway.core.errors import BadInput
from gateway.core.explain import explain
from gateway.files import sync_folder

MAX_REASON = 1_000  # characters; what the folder office reads of a RETURNED file


def add_sign_for(parser: argparse.ArgumentParser, commands: Commands) -> None:
    """Say what ``sign-for`` takes."""
    _add(parser, commands, "SIGNED")


def add_return(parser: argparse.ArgumentParser, commands: Commands) -> None:
    """Say what ``return`` takes."""
    _add(parser, commands, "RETURNED")
    parser.add_argument("--reason", required=True, metavar="R", help=commands.pick("退回理由", "why it is returned"))


def _add(parser: argparse.ArgumentParser, commands: Commands, marker: str) -> None:
    home_argument(parser, commands)
    parser.add_argument("exchange", metavar="ID", help=commands.pick("交换编号，可只写开头", "exchange id, or its beginning"))
    json_argument(parser, commands)
    parser.set_defaults(run=run, marker=marker, reason="")


def run(arguments: argparse.Namespace, voice: Voice) -> int:
    """Put the marker into the document's folder."""
    reason = arguments.reason.strip()
    if arguments.marker == "RETURNED" and not 0 < len(reason) <= MAX_REASON:
        raise BadInput("a return needs a reason", reasons=(explain("cli/reason-needed", longest=MAX_REASON),))
    folder = inbox_folder(open_home(arguments), arguments.exchange)
    _mark(folder, arguments.marker, reason.encode())
    voice.value({"exchange": folder.name, "act": arguments.marker.lower(), "reason": reason})
    done = ("签收", "signed for") if arguments.marker == "SIGNED" else ("退回", "returned")
    voice.say(f"{folder.name} 已{done[0]}；网关运行时将发出回执", f"{folder.name} {done[1]}; the gateway sends the receipt while it runs")
    return OK


def _mark(folder: Path, marker: str, content: bytes) -> None:
    """Appears with its content or not at all, and never beside one that is there or was answered for (``.done``)."""
    for act in ("SIGNED", "RETURNED"):
        if (folder / act).exists() or (folder / f"{act}.done").exists():
            _refuse_second(folder, act)
    temporary = folder / f".{marker}.{os.getpid()}.part"
    temporary.write_bytes(content)
    try:
        os.link(temporary, folder / marker)
    except FileExistsError:
        _refuse_second(folder, marker)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
    sync_folder(folder)


def _refuse_second(folder: Path, act: str) -> NoReturn:
    raise BadInput(f"{folder.name}: {act} already", reasons=(explain("cli/already-answered", exchange=folder.name, act=act),))
