"""``yizhan serve``: run the gateway until it is told to stop."""

from __future__ import annotations

import argparse

from gateway.cli.command import Commands, home_argument, open_home
from gateway.cli.voice import Voice


def add(parser: argparse.ArgumentParser, commands: Commands) -> None:
    """Say what it takes."""
    home_argument(parser, commands)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, voice: Voice) -> int:
    """Hand over to the composition root; its exit code is ours."""
    home = open_home(arguments)
    from gateway.app import serve  # the whole engine: no other command pays for loading it

    gateway, listen = home.config.gateway, home.config.listen
    voice.note(
        f"{gateway.name} 的网关 {gateway.id}：对端 {listen.peer}，运维 http://{listen.ops}（Ctrl-C 停止）",
        f"gateway {gateway.id} of {gateway.name}: peers {listen.peer}, operators http://{listen.ops} (Ctrl-C stops)",
    )
    return serve(home)
