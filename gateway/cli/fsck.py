"""``yizhan fsck``: prove that rows, blobs and log agree, with none of the code that writes them."""

from __future__ import annotations

import argparse

from gateway.cli.command import Commands, home_argument, json_argument, open_home
from gateway.cli.findings import findings_value, tell
from gateway.cli.voice import OK, Voice
from gateway.core.errors import BadInput
from gateway.core.explain import explain
from gateway.store.fsck import fsck


def add(parser: argparse.ArgumentParser, commands: Commands) -> None:
    """Say what it takes."""
    home_argument(parser, commands)
    json_argument(parser, commands)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, voice: Voice) -> int:
    """Check and tell what was found."""
    home = open_home(arguments)
    if not home.database.exists():
        raise BadInput("no database yet", reasons=(explain("cli/no-database", place=home.database),))
    findings = fsck(home.database, home.data / "blobs")
    code = tell(findings, voice)
    voice.value({"ok": code == OK, "findings": findings_value(findings)})
    if code == OK:
        voice.say("存储一致", "rows, blobs and log agree")
    return code
