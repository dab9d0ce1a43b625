"""What the ledger is asked about work and open passages: by operators, and by whoever watches deadlines."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Dialect, bindparam, func, literal_column, select, tuple_

from gateway.core.exchange import Direction, State
from gateway.core.step import Work
from gateway.flow.ports import WaitingRow
from gateway.store.schema import exchanges, from_micros, passages, sealed, work
from gateway.store.statements import Row, same, text_of


class WaitingQuestions:
    """The texts for one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        whole = passages.join(exchanges, (exchanges.c.direction == passages.c.direction) & (exchanges.c.key == passages.c.exchange))
        whole = whole.outerjoin(sealed, (sealed.c.direction == passages.c.direction) & (sealed.c.exchange == passages.c.exchange))
        # One state a question: the index of states then holds its rows in this very order, and a slice costs what it is long.
        found = (
            select(
                passages.c.exchange,
                passages.c.recipient,
                passages.c.state,
                passages.c.updated,
                exchanges.c.created,
                exchanges.c.level,
                exchanges.c.urgency,
                exchanges.c.sender_org,
                exchanges.c.sender_gateway,
                func.coalesce(sealed.c.expires, exchanges.c.expires),
                sealed.c.exchange.is_not(None),
                sealed.c.content_size,
            )
            .select_from(whole)
            .where(same(passages, "state", "direction"))
            .where(tuple_(passages.c.exchange, passages.c.recipient) > tuple_(bindparam("after_exchange"), bindparam("after_recipient")))
            .order_by(passages.c.exchange, passages.c.recipient)
            .limit(bindparam("limit_"))
            .offset(literal_column("0"))
        )
        self.waiting = text_of(found, dialect)
        self.work = text_of(select(work).where(same(work, "key")), dialect)


def waiting_row(direction: Direction, row: Row) -> WaitingRow:
    """A row of that question."""
    exchange, recipient, state, updated, created, level, urgency, sender_org, sender_gateway, expires, is_sealed, size = row
    return WaitingRow(
        direction=direction,
        exchange=exchange,
        recipient=recipient,
        state=State(state),
        updated=from_micros(updated),
        created=from_micros(created),
        level=level,
        urgency=urgency,
        sender_org=sender_org,
        sender_gateway=sender_gateway,
        expires=None if expires is None else from_micros(expires),
        sealed=bool(is_sealed),
        size=size,
    )


def work_of(row: Row) -> Work:
    """A row of ``work``."""
    key, kind, direction, exchange, due, peer, priority, attempts, detail, trouble = row
    return Work(
        key=key,
        kind=kind,
        direction=direction,
        exchange=exchange,
        due=from_micros(due),
        peer=peer,
        priority=priority,
        attempts=attempts,
        detail=detail,
        trouble=trouble,
    )


def in_order(found: list[Any], limit: int) -> tuple[WaitingRow, ...]:
    """The first so many of what several questions found."""
    return tuple(sorted(found, key=lambda row: (row.exchange, row.recipient))[:limit])
