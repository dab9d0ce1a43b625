"""``yizhan audit new-log``: go on after a database was put back from an older copy, or its mark was lost.

Only a person may decide it: the first leaf of the new log names who, why, and how many leaves of the old one are gone.
"""

from __future__ import annotations

import argparse
import os
from datetime import datetime
from pathlib import Path

from crypto.errors import Malformed
from gateway.cli.command import Commands, home_argument, json_argument, now, open_home
from gateway.cli.voice import OK, Voice
from gateway.core.canonical import format_time, parse_time
from gateway.core.errors import BadInput
from gateway.core.explain import explain
from gateway.core.leaf import Actor, Leaf, LeafKind
from gateway.files import write_atomic
from gateway.flow.accounts import OPERATORS, fresh_number, known_name
from gateway.home import Home, log_name
from gateway.net.control import account_of
from gateway.store.lock import HomeLock
from gateway.store.new_log import Ended, begin, catch_up, look, remembered

REASONS = ("restored", "mark-lost", "database-damaged")


def add_new_log(parser: argparse.ArgumentParser, commands: Commands) -> None:
    """Say what it takes."""
    home_argument(parser, commands)
    text = commands.pick("原因", "why")
    parser.add_argument("--reason", required=True, choices=REASONS, help=text)
    json_argument(parser, commands)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, voice: Voice) -> int:
    """Begin it, and say what is lost. Raises BadInput, HomeInUse, JournalStopped, KeyUnusable."""
    home = open_home(arguments)
    origin = home.log_origin()
    if origin is None or not home.database.exists():
        raise BadInput("no log yet", reasons=(explain("cli/no-database", place=home.database),))
    with HomeLock(home.data / "lock"):
        following = _following(home, origin, now())
        if catch_up(home.database, home.mark, origin):  # cut off behind the database's part: only the files were missing
            ended = None
        else:
            ended = look(home.database, home.mark)
            if ended.signed is not None and not ended.lost and arguments.reason != "database-damaged":
                raise BadInput("the log is whole", reasons=(explain("cli/log-is-whole", origin=origin, size=ended.size),))
            _begin(home, ended, following, arguments.reason)
        write_atomic(home.data / "origin", following.encode())
    _tell(voice, origin, following, ended)
    return OK


def _following(home: Home, origin: str, at: datetime) -> str:
    """The next origin: the same year counts up, another begins at 1."""
    year, _, number = origin.rpartition("/")[2].partition(".")
    return f"{log_name(home.config)}/{at.year}.{int(number) + 1 if int(year) == at.year else 1}"


def _begin(home: Home, ended: Ended, origin: str, reason: str) -> None:
    key = home.storage_key()
    account = account_of(os.geteuid(), Path("/proc/self/loginuid"))
    known_as = known_name(key, OPERATORS, account)
    number, values = remembered(home.database, known_as), dict[str, str]()
    if number is None:
        number, values = fresh_number(key, known_as, account)
    leaf = Leaf(
        kind=LeafKind.ORIGIN,
        actor=Actor(id=number, role="operator", auth="home-lock"),
        at=_not_before(now(), ended.last_at),
        outcome="begun",
        object=ended.checkpoint,
        reason=reason,
        size=ended.signed if ended.signed is not None else ended.size,
    )
    begin(home.database, home.mark, ended, key=home.log_key(), origin=origin, leaf=leaf, remember=values)


def _not_before(at: datetime, last: str) -> str:
    """Time in the log never goes back, from one log to the next either."""
    try:
        return format_time(max(at, parse_time(last)))
    except Malformed:
        return format_time(at)


def _tell(voice: Voice, origin: str, following: str, ended: Ended | None) -> None:
    lost = ended.lost if ended is not None else None
    voice.value({"ok": True, "origin": following, "before": origin, "size": ended.size if ended else None, "lost": lost})
    voice.say(f"日志 {origin} 到此为止，今后记入 {following}", f"the log {origin} ends here; {following} goes on")
    if ended is None:
        return
    if ended.signed is None:
        voice.say(
            f"留有 {ended.size} 项；标记已失，缺多少不得而知",
            f"{ended.size} leaves are left; without the mark nobody can tell how many are lost",
        )
    else:
        voice.say(
            f"已签署 {ended.signed} 项，留有 {ended.size} 项，缺 {lost} 项；缺口已写入新日志的首项",
            f"{ended.signed} leaves were signed, {ended.size} are left, {lost} are lost; the first leaf of the new log says so",
        )
