"""``yizhan trace``: the exchanges of this gateway, or one of them step by step, with times, receipts and who says so."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from gateway.cli.command import Commands, home_argument, json_argument, open_home
from gateway.cli.hops import Hop, hops_of
from gateway.cli.voice import OK, Voice, reason_value
from gateway.core.canonical import format_time
from gateway.flow.ports import ExchangeRow
from gateway.home import Home
from gateway.reading import Reader, find_exchange, open_ledger

DEFAULT_LIMIT = 50

_EVENTS_ZH = {
    "SubmissionAcceptance": "已受理",
    "SubmissionRejection": "不予受理",
    "RelayAcceptance": "已转递",
    "RelayRejection": "转递被拒",
    "RelayFailure": "转递失败",
    "ContentConsignment": "对方网关已验证接收",
    "ContentConsignmentFailure": "对方网关拒收",
    "ContentHandover": "已送达办公系统",
    "ContentHandoverFailure": "送达办公系统失败",
    "SignedFor": "签收",
    "Returned": "退回",
    "NotSignedFor": "逾期未签收",
    "Withdrawn": "已撤回",
    "WithdrawalRefused": "撤回被拒",
    "Voided": "已作废",
}
_LEAVES_ZH = {
    "taken": "取文",
    "held": "待批",
    "refused": "拒绝",
    "sealed": "封装",
    "arrived": "到达",
    "accepted": "接收",
    "delivered": "送达",
    "stuck": "无法投递，已停住",
    "expired": "结束等待",
    "retried": "人工重试",
    "reminded": "时限提醒",
    "alarm": "告警",
}


def add(parser: argparse.ArgumentParser, commands: Commands) -> None:
    """Say what it takes."""
    pick = commands.pick
    home_argument(parser, commands)
    parser.add_argument(
        "exchange",
        nargs="?",
        metavar="ID",
        help=pick("交换编号，可只写开头；不写则列出全部", "exchange id or its beginning; all without it"),
    )
    parser.add_argument("--limit", type=int, default=DEFAULT_LIMIT, metavar="N", help=pick("最多列出几条", "how many to list"))
    json_argument(parser, commands)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, voice: Voice) -> int:
    """List, or follow one."""
    home = open_home(arguments)
    if arguments.exchange is None:
        asyncio.run(_list(home, arguments.limit, voice))
    else:
        asyncio.run(_one(home, arguments.exchange, voice))
    return OK


# ---- the list --------------------------------------------------------------------------------------------------------------------


async def _list(home: Home, limit: int, voice: Voice) -> None:
    async with open_ledger(home) as ledger:
        rows = await ledger.exchanges(limit=limit)
    reader = Reader(home)
    voice.value([_summary(row, reader) for row in rows])
    if not rows:
        voice.say("还没有交换", "no exchanges yet")
    for row in rows:
        arrow = "→" if row.direction == "out" else "←"
        others = [passage.recipient for passage in row.passages] if row.direction == "out" else [row.sender_org]
        states = ", ".join(sorted({passage.state for passage in row.passages}))
        who = "、".join(map(reader.name, others[:3])) + (" …" if len(others) > 3 else "")
        line = f"{row.id}  {format_time(row.created):24}  {arrow} {who}  [{row.level}]  {states}  {reader.title(row)}"
        voice.say(line, line)


def _summary(row: ExchangeRow, reader: Reader) -> dict[str, Any]:
    return {
        "id": row.id,
        "direction": row.direction,
        "created": format_time(row.created),
        "expires": format_time(row.expires) if row.expires else None,
        "level": row.level,
        "urgency": row.urgency,
        "suite": row.suite,
        "title": reader.title(row),
        "from": row.sender_org,
        "states": {passage.recipient: passage.state.value for passage in row.passages},
    }


# ---- one exchange ----------------------------------------------------------------------------------------------------------------


async def _one(home: Home, exchange: str, voice: Voice) -> None:
    async with open_ledger(home) as ledger:
        row = await find_exchange(ledger, exchange)
        receipts = await ledger.receipts(row.direction, row.key)
        hops = await hops_of(home, ledger, row, receipts)
    reader = Reader(home)
    private = reader.private(row)
    reasons = private.reasons if private else ()
    value = _summary(row, reader)
    value["path"] = [hop._asdict() | {"at": format_time(hop.at)} for hop in hops]
    value["receipts"] = [
        {"event": each.event, "by": each.issuer_org, "recipient": each.recipient, "at": format_time(each.at), "digest": each.digest}
        for each in receipts
    ]
    value["reasons"] = [reason_value(reason) for reason in reasons]
    voice.value(value)
    _tell(row, hops, reader, voice)
    for reason in reasons:
        voice.say(f"  依据 {reason.rule}：{reason.zh}", f"  by {reason.rule}: {reason.en}")


def _tell(row: ExchangeRow, hops: list[Hop], reader: Reader, voice: Voice) -> None:
    way = ("发出", "sent") if row.direction == "out" else ("收到", "received")
    voice.say(
        f"{row.id}  {way[0]}  《{reader.title(row)}》\n  密级 {row.level}  紧急程度 {row.urgency}  套件 {row.suite or '—'}  发自 {reader.name(row.sender_org)}",
        f"{row.id}  {way[1]}  {reader.title(row)}\n"
        f"  level {row.level}  urgency {row.urgency}  suite {row.suite or '-'}  from {reader.name(row.sender_org)}",
    )
    for passage in row.passages:
        line = f"  ● {passage.recipient} {reader.name(passage.recipient)}: {passage.state}  {format_time(passage.updated)}"
        voice.say(line, line)
    for hop in hops:
        what = voice.pick(_EVENTS_ZH.get(hop.what) or _LEAVES_ZH.get(hop.what, hop.what), hop.what)
        about = f" ({reader.name(hop.recipient)})" if hop.recipient and hop.recipient != hop.org else ""
        line = f"  {format_time(hop.at):24}  {reader.name(hop.org)} [{hop.gateway}]  {what}{about}  · {hop.proof}"
        voice.say(line, line)
