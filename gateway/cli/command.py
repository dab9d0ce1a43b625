"""What every command of the line shares: how it is added, and the few arguments they have in common.

def add(parser: argparse.ArgumentParser, commands: Commands) -> None:
    home_argument(parser, commands)
    parser.set_defaults(run=run)
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from crypto.errors import RemoteError
from gateway.cli.voice import Voice
from gateway.core.errors import BadInput
from gateway.core.explain import explain_error

if TYPE_CHECKING:
    from gateway.home import Home

Run = Callable[[argparse.Namespace, Voice], int]


class Commands:
    """The subcommands of one parser, in one language."""

    def __init__(self, parser: argparse.ArgumentParser, voice: Voice, *, name: str = "command") -> None:
        self.voice = voice
        self._group = parser.add_subparsers(
            dest=name, required=True, metavar=voice.pick("命令", "COMMAND"), title=voice.pick("命令", "commands")
        )

    def add(self, name: str, zh: str, en: str) -> argparse.ArgumentParser:
        """A command with its one-line description."""
        text = self.voice.pick(zh, en)
        parser = self._group.add_parser(name, help=text, description=text, allow_abbrev=False)
        parser.add_argument("--lang", choices=("zh", "en"), help=self.pick("界面语言", "language"))
        return parser

    def pick(self, zh: str, en: str) -> str:
        return self.voice.pick(zh, en)


def home_argument(parser: argparse.ArgumentParser, commands: Commands) -> None:
    """``--home DIR``."""
    text = commands.pick("网关目录（含 gateway.toml）", "the gateway's folder (with gateway.toml)")
    parser.add_argument("--home", required=True, type=Path, metavar="DIR", help=text)


def json_argument(parser: argparse.ArgumentParser, commands: Commands) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help=commands.pick("输出 JSON，供程序读取", "print JSON for programs"))


def address_argument(parser: argparse.ArgumentParser, commands: Commands, name: str, text: str) -> None:
    """An optional HOST:PORT."""

    def address(value: str) -> str:
        from gateway.config import split_address  # the list of commands needs none of it

        try:
            split_address(value)
        except ValueError:
            raise argparse.ArgumentTypeError(commands.pick(f"不是 主机:端口：{value}", f"not HOST:PORT: {value}")) from None
        return value

    parser.add_argument(name, type=address, metavar="HOST:PORT", help=text)


def open_home(arguments: argparse.Namespace) -> Home:
    """The home the arguments name. Raises BadConfiguration."""
    from gateway.home import Home  # keys and certificates: `--help` and a misspelt word should not wait for them

    return Home.open(arguments.home)


@contextmanager
def bad_input() -> Iterator[None]:
    """What does not hold in here was typed by the person at the keyboard: their mistake, exit code 2. Raises BadInput."""
    try:
        yield
    except RemoteError as error:
        raise BadInput(str(error), reasons=(explain_error(error),)) from error


def now() -> datetime:
    """The moment, asked once a command."""
    return datetime.now(UTC)
