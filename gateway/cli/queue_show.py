"""``yizhan queue show``: one exchange, recipient by recipient: where it stands and since when, what happened, what failed, what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from gateway.cli.hops import Hop, hops_of
from gateway.cli.queue_items import ALL_WORK, Item, Lister, waiting_rows
from gateway.cli.queue_words import attempts_text
from gateway.cli.voice import Voice
from gateway.core.canonical import format_time
from gateway.core.step import Work
from gateway.flow.ports import ExchangeRow
from gateway.flow.queue import label_of
from gateway.flow.trouble import is_set_aside, trouble_of
from gateway.home import Home
from gateway.reading import ambiguous, find_exchange, open_ledger

_DOES: dict[str, tuple[str, str]] = {
    "retry": (
        "立即再试（重新计数；STUCK、HELD 回到 SEALED，投递前再次询问策略）",
        "tried at once and counted anew; STUCK and HELD go back on the way, policy is asked again first",
    ),
    "return": (
        "退回办公系统，状态 EXPIRED（未封装的为 REFUSED），附原因",
        "back to the office with the reasons: EXPIRED, or REFUSED where nothing was sealed",
    ),
    "expire": (
        "不再等待，状态 EXPIRED；对方之后的回执仍以其为准",
        "waited for no longer: EXPIRED; a later word of the recipient still counts",
    ),
}


async def show(home: Home, item: str, now: datetime, voice: Voice) -> None:
    """Tell all there is to know. Raises BadInput for what is not there."""
    async with open_ledger(home) as ledger:
        lister = Lister(home, ledger, now)
        works = await ledger.due(limit=ALL_WORK)
        alone = [work for work in works if not work.exchange and item and label_of(work).startswith(item)]
        if alone:
            if len(alone) > 1:
                raise ambiguous(item, [label_of(work) for work in alone])
            _show_work(alone[0], await lister.item_of_work(alone[0]), lister, now, voice)
            return
        row = await find_exchange(ledger, item)
        mine = [work for work in works if (work.direction, work.exchange) == (row.direction, row.key)]
        items = [await lister.item(each, mine) for each in waiting_rows(row)]
        hops = await hops_of(home, ledger, row, await ledger.receipts(row.direction, row.key))
        content = await ledger.content(row.direction, row.key)
    private = lister.reader.private(row)
    place = _place(row, private.source if private else "", content.blob if content else None, voice)
    value: dict[str, Any] = {
        "id": row.id,
        "direction": row.direction,
        "title": private.document.title if private else "",
        "level": row.level,
        "urgency": row.urgency,
        "created": format_time(row.created),
        "expires": format_time(row.expires) if row.expires else None,
        "recipients": [each.value(now) | {"history": [_hop_value(hop) for hop in _about(hops, each, row)]} for each in items],
        "works": [_work_value(work, lister) for work in mine],
        "content": {"place": place, "size": content.size if content else None},
    }
    voice.value(value)
    _tell(row, value, items, hops, mine, lister, voice)


def _about(hops: Sequence[Hop], item: Item, row: ExchangeRow) -> list[Hop]:
    """What concerns this recipient: what names it, and what names nobody."""
    return [hop for hop in hops if not hop.recipient or row.direction == "in" or hop.recipient == item.org]


def _hop_value(hop: Hop) -> dict[str, str]:
    return {"at": format_time(hop.at), "gateway": hop.gateway, "what": hop.what, "proof": hop.proof}


def _work_value(work: Work, lister: Lister) -> dict[str, Any]:
    trouble = trouble_of(work, lister.storage_key)
    return {
        "kind": work.kind,
        "peer": work.peer,
        "attempts": work.attempts,
        "due": None if is_set_aside(work) else format_time(work.due),
        "set_aside": is_set_aside(work),
        "failed": None if trouble is None else {"code": trouble.code, "at": format_time(trouble.at), "defects": trouble.defects},
    }


def _place(row: ExchangeRow, source: str, blob: str | None, voice: Voice) -> str:
    """Where the content is kept."""
    if row.content is None and row.transmittal is None:
        return voice.pick(f"办公系统（{source or '—'}）；尚未封装", f"in the office ({source or '-'}); not sealed yet")
    if row.content is None:
        return voice.pick("不在本机", "not here")
    if blob is not None:
        return f"data/blobs/{blob[:2]}/{blob}"
    return voice.pick("数据库", "in the database")


def _tell(
    row: ExchangeRow, value: dict[str, Any], items: Sequence[Item], hops: Sequence[Hop], works: Sequence[Work], lister: Lister, voice: Voice
) -> None:
    way = ("发出", "sent") if row.direction == "out" else ("收到", "received")
    voice.say(
        f"{row.id}  {way[0]}  《{value['title']}》  密级 {row.level or '—'}  紧急程度 {row.urgency}",
        f"{row.id}  {way[1]}  {value['title']}  level {row.level or '-'}  urgency {row.urgency}",
    )
    size = value["content"]["size"]
    kept = f"{value['content']['place']}" + ("" if size is None else voice.pick(f"，密文 {size:,} 字节", f", {size:,} bytes of ciphertext"))
    voice.say(f"  内容：{kept}", f"  content: {kept}")
    for item in items:
        line = f"  ● {item.org} {item.name}: {item.state}  {format_time(item.since)}"
        voice.say(line, line)
        line = "      " + attempts_text(item, lister.now, voice)
        voice.say(line, line)
        for reason in item.reasons:
            voice.say(f"      ✗ {reason.zh}", f"      ✗ {reason.en}")
            if fix := voice.pick(reason.fix_zh, reason.fix):
                voice.say(f"        → {fix}", f"        → {fix}")
        for hop in _about(hops, item, row):
            line = f"      {format_time(hop.at):24}  [{hop.gateway}]  {hop.what}  · {hop.proof}"
            voice.say(line, line)
    for work in works:
        due = voice.pick("已搁置", "set aside") if is_set_aside(work) else format_time(work.due)
        line = f"  ○ {work.kind} {work.peer}  {due}  ×{work.attempts}".rstrip()
        voice.say(line, line)
    for act in sorted({act for item in items for act in item.acts}, key=list(_DOES).index):
        zh, en = _DOES[act]
        voice.say(f"  yizhan queue {act} {row.id}：{zh}", f"  yizhan queue {act} {row.id}: {en}")


def _show_work(work: Work, item: Item, lister: Lister, now: datetime, voice: Voice) -> None:
    voice.value(item.value(now) | {"works": [_work_value(work, lister)]})
    voice.say(f"{item.id}  {work.kind}  {work.peer}", f"{item.id}  {work.kind}  {work.peer}")
    line = "  " + attempts_text(item, now, voice)
    voice.say(line, line)
    for reason in item.reasons:
        voice.say(f"  ✗ {reason.zh}\n    → {reason.fix_zh}", f"  ✗ {reason.en}\n    → {reason.fix}")
    kept = {
        "take": ("内容仍在办公系统的待发箱中", "the document is still in the office's outbox"),
        "arrive": ("内容仍在发送方", "the sender still has it"),
        "take-receipt": ("回执仍在签发方", "whoever issued the receipt still has it"),
    }.get(work.kind, ("", ""))
    voice.say(f"  {kept[0]}", f"  {kept[1]}")
    zh, en = _DOES["retry"]
    voice.say(f"  yizhan queue retry {item.id}：{zh}", f"  yizhan queue retry {item.id}: {en}")
