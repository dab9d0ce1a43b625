"""``yizhan queue``: what is stuck, why, and what an operator may do about it without a developer.

The list and ``show`` read the database beside a gateway that may be serving. The acts go to the gateway through its control socket when it
serves, and are carried out here under the home's lock when it does not: the same code either way.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from gateway.cli.command import Commands, home_argument, json_argument, now, open_home
from gateway.cli.queue_items import OPEN, Choice, Item, Lister
from gateway.cli.queue_show import show
from gateway.cli.queue_words import attempts_text, span_text
from gateway.cli.voice import OK, PROBLEM, Voice, reason_value
from gateway.core.errors import BadInput
from gateway.core.exchange import Direction, State
from gateway.core.explain import explain
from gateway.core.organisation import check_code
from gateway.flow.queue import ActName, Operator, Outcome, Request
from gateway.home import Home
from gateway.net.control import account_of, call
from gateway.reading import open_ledger

ANSWER_SECONDS = 60.0  # an act signs and commits; a busy disk may take its time
DEFAULT_LIMIT = 100
_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86_400}

_ACTS: Mapping[ActName, tuple[str, str]] = {
    "retry": ("立即重试，也可从 STUCK 恢复", "have it tried at once, also out of STUCK"),
    "return": ("作为未送达退回办公系统", "give it back to the office as not delivered"),
    "expire": ("提前结束等待", "end the wait before its time"),
}


def add(parser: argparse.ArgumentParser, commands: Commands) -> None:
    """Say what it takes."""
    pick = commands.pick
    group = Commands(parser, commands.voice, name="act")
    listing = group.add("list", "列出未完成和搁置的交换", "list what is open, stuck or set aside")
    home_argument(listing, commands)
    listing.add_argument(
        "--state", nargs="+", default=[], choices=[str(state) for state in State], metavar="STATE", help=pick("状态", "states")
    )
    listing.add_argument("--peer", default="", metavar="GATEWAY|CODE", help=pick("对方网关或单位代码", "the other gateway or organisation"))
    listing.add_argument("--direction", default="", choices=("out", "in"), help=pick("方向", "direction"))
    listing.add_argument(
        "--older-than",
        type=_span,
        default=timedelta(0),
        metavar="2h",
        help=pick("等待超过（s、min、h、d）", "waiting longer than (s, min, h, d)"),
    )
    listing.add_argument("--urgent", action="store_true", help=pick("仅加急及以上", "only what is more than routine"))
    listing.add_argument("--set-aside", action="store_true", help=pick("仅搁置的", "only what is set aside"))
    listing.add_argument("--limit", type=int, default=DEFAULT_LIMIT, metavar="N", help=pick("最多列出几条", "how many to list"))
    json_argument(listing, commands)
    listing.set_defaults(run=run_list)
    showing = group.add(
        "show",
        "查看一个交换：各收件单位的状态、经过、错误和可做的操作",
        "one exchange: each recipient, its history, errors, and what can be done",
    )
    home_argument(showing, commands)
    showing.add_argument(
        "item", metavar="ID", help=pick("交换编号或列表中的编号，可只写开头", "exchange id or the list's id, or its beginning")
    )
    json_argument(showing, commands)
    showing.set_defaults(run=run_show)
    for act, (zh, en) in _ACTS.items():
        acting = group.add(act, zh, en)
        home_argument(acting, commands)
        acting.add_argument("items", nargs="+", metavar="ID", help=pick("交换编号，可只写开头", "exchange ids, or their beginnings"))
        acting.add_argument("--to", default="", metavar="CODE", help=pick("仅此收件单位", "only this recipient"))
        json_argument(acting, commands)
        acting.set_defaults(run=run_act, act_name=act)


def _span(text: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,6})(s|min|h|d)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text}: 30s, 5min, 2h, 1d")
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]])


# ---- list ------------------------------------------------------------------------------------------------------------------------


def run_list(arguments: argparse.Namespace, voice: Voice) -> int:
    """Tell what waits; exit code 0 also when nothing does."""
    asyncio.run(_list(open_home(arguments), arguments, voice))
    return OK


async def _list(home: Home, arguments: argparse.Namespace, voice: Voice) -> None:
    moment = now()
    wanted = frozenset(State(state) for state in arguments.state)
    choice = Choice(
        states=wanted,
        peer=arguments.peer,
        direction=arguments.direction,
        older_than=arguments.older_than,
        urgent=arguments.urgent,
        set_aside=arguments.set_aside,
    )
    states: dict[Direction, frozenset[State]] = {direction: wanted or OPEN[direction] for direction in ("out", "in")}
    async with open_ledger(home) as ledger:
        items = await Lister(home, ledger, moment).items(states)
    chosen = [item for item in items if choice.wanted(item, moment)]
    voice.value([item.value(moment) for item in chosen[: arguments.limit]])
    if not chosen:
        voice.say("没有等待处理的交换", "nothing waits")
        return
    for item in chosen[: arguments.limit]:
        _tell(item, moment, voice)
    if len(chosen) > arguments.limit:
        voice.note(f"另有 {len(chosen) - arguments.limit} 条未列出（--limit）", f"{len(chosen) - arguments.limit} more (--limit)")


def _tell(item: Item, moment: datetime, voice: Voice) -> None:
    arrow = "→" if item.direction == "out" else "←"
    who = f"{item.org} {item.name}".strip() or item.peer or "—"
    line = f"{item.id}  {arrow} {who}  {item.state}  {span_text(moment - item.since, voice)}"
    voice.say(line, line)
    voice.say("    " + attempts_text(item, moment, voice), "    " + attempts_text(item, moment, voice))
    for reason in item.reasons:
        voice.say(f"    ✗ {reason.zh}", f"    ✗ {reason.en}")
        if fix := voice.pick(reason.fix_zh, reason.fix):
            voice.say(f"      → {fix}", f"      → {fix}")


# ---- show ------------------------------------------------------------------------------------------------------------------------


def run_show(arguments: argparse.Namespace, voice: Voice) -> int:
    """One exchange, or one work that belongs to none."""
    asyncio.run(show(open_home(arguments), arguments.item, now(), voice))
    return OK


# ---- retry, return, expire -------------------------------------------------------------------------------------------------------


def run_act(arguments: argparse.Namespace, voice: Voice) -> int:
    """Carry the act out on each of the ids; 1 when one of several could not be, 2 when a single one could not."""
    home = open_home(arguments)
    if arguments.to:
        check_code(arguments.to)
    values, failed = [], 0
    for item in arguments.items:
        request = Request(act=arguments.act_name, item=item, to=arguments.to)
        try:
            outcome = carry_out(home, request)
        except BadInput as error:
            if len(arguments.items) == 1:
                raise
            failed += 1
            values.append({"item": item, "ok": False, "reasons": [reason_value(reason) for reason in error.facts["reasons"]]})
            voice.note(f"✗ {item}：{error.facts['reasons'][0].zh}", f"✗ {item}: {error.facts['reasons'][0].en}")
        else:
            values.append(_outcome_value(outcome))
            _tell_outcome(arguments.act_name, outcome, voice)
    voice.value(values[0] if len(arguments.items) == 1 else values)
    return PROBLEM if failed else OK


def carry_out(home: Home, request: Request) -> Outcome:
    """By the gateway that serves this home, or here when none does. Raises BadInput, HomeInUse."""
    if not home.database.exists():
        raise BadInput("no database yet", reasons=(explain("cli/no-database", place=home.database),))
    try:
        told = call(home.data, request, timeout=ANSWER_SECONDS)
    except PermissionError as error:
        raise BadInput(str(error), reasons=(explain("queue/not-yours"),)) from error
    except OSError as error:
        raise BadInput(str(error), reasons=(explain("queue/gateway-silent", problem=error),)) from error
    if told is None:
        return asyncio.run(_here(home, request))
    if told.outcome is None:
        raise BadInput(told.reasons[0].en, reasons=told.reasons)
    return told.outcome


async def _here(home: Home, request: Request) -> Outcome:
    from gateway.app import Gateway  # the whole engine: only an act on a home that rests pays for loading it

    account = account_of(os.geteuid(), Path("/proc/self/loginuid"))
    return await Gateway(home).act(request, Operator(account=account, proof="home-lock"))


def _outcome_value(outcome: Outcome) -> dict[str, object]:
    return {
        "item": outcome.item,
        "ok": True,
        "done": [{"recipient": done.recipient, "before": done.before, "after": done.after} for done in outcome.done],
        "left": [reason_value(reason) for reason in outcome.left],
    }


def _tell_outcome(act: ActName, outcome: Outcome, voice: Voice) -> None:
    words = {
        "retry": ("已安排立即重试", "due at once"),
        "return": ("已退回办公系统", "given back to the office"),
        "expire": ("已结束等待", "no longer waited for"),
    }
    zh, en = words[act]
    voice.say(f"{outcome.item}  {zh}", f"{outcome.item}  {en}")
    for done in outcome.done:
        line = f"  ● {done.recipient or '—'}: {done.before} → {done.after}"
        voice.say(line, line)
    for reason in outcome.left:
        voice.say(f"  ○ {reason.at}：{reason.zh}", f"  ○ {reason.at}: {reason.en}")
