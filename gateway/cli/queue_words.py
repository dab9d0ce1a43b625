"""How long, how often and until when, in the words of ``yizhan queue``."""

from __future__ import annotations

from datetime import datetime, timedelta

from gateway.cli.queue_items import Item
from gateway.cli.voice import Voice
from gateway.core.urgency import URGENCIES


def attempts_text(item: Item, moment: datetime, voice: Voice) -> str:
    """Attempts, the next one, the deadline, and what can be done, on one line."""
    zh = URGENCIES[item.urgency].zh if item.urgency else "—"
    parts = [voice.pick(f"紧急程度 {zh}", f"urgency {item.urgency or '-'}")]
    if item.attempts:
        parts.append(voice.pick(f"已试 {item.attempts} 次", f"{item.attempts} attempts"))
    if item.set_aside:
        parts.append(voice.pick("已搁置，须人工重试", "set aside until a person retries it"))
    elif item.next_attempt is not None:
        wait = span_text(max(item.next_attempt - moment, timedelta(0)), voice)
        parts.append(voice.pick(f"{wait}后再试", f"next in {wait}"))
    if item.deadline is not None:
        left = span_text(abs(item.deadline.ends - moment), voice)
        late = item.overdue(moment)
        parts.append(voice.pick(f"已超期 {left}" if late else f"时限还剩 {left}", f"{left} overdue" if late else f"{left} left"))
    if item.acts:
        parts.append(voice.pick("可做：", "can: ") + ", ".join(item.acts))
    return voice.pick("；", "; ").join(parts)


def span_text(span: timedelta, voice: Voice) -> str:
    """A span for people: its largest unit, and the next where that helps."""
    total = int(span.total_seconds())
    for size, zh, en, below, below_zh, below_en in (
        (86_400, "天", "d", 3600, "小时", "h"),
        (3600, "小时", "h", 60, "分", "min"),
        (60, "分", "min", 1, "秒", "s"),
    ):
        if total >= size:
            rest = total % size // below
            more = voice.pick(f"{rest}{below_zh}", f" {rest} {below_en}") if rest else ""
            return voice.pick(f"{total // size}{zh}", f"{total // size} {en}") + more
    return voice.pick(f"{total}秒", f"{total} s")
