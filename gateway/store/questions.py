"""Every question the ledger asks, compiled once from the tables of schema.py. Values go in the order of the arguments named."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Dialect, Select, Table, bindparam, exists, func, literal_column, select

from gateway.store.schema import (
    ARRIVAL,
    NAMED,
    OUTBOUND_OFFER,
    checkpoints,
    contents,
    envelopes,
    exchanges,
    leaves,
    passages,
    receipts,
    remembered,
    sealed,
    shelves,
    work,
)
from gateway.store.statements import same, text_of

_ONE: ColumnElement[Any] = literal_column("1")  # a number of Python's would become one more placeholder, and so would an offset left out
_LIMIT: BindParameter[int] = bindparam("limit_")


class Questions:
    """The texts for one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        # Not joined with ``sealed``: SQLite compares a direction it does not know yet with that of the partial index of offers, and so plans
        # a join anew for every value. Two lookups by key cost a fifth of that.
        self.exchange = self._text(_without(exchanges, "seq").where(same(exchanges, "direction", "key")))
        self.named = self._text(_without(exchanges, "seq").where(NAMED & same(exchanges, "name")))
        of_beginning = (exchanges.c.key >= bindparam("first_")) & (exchanges.c.key < bindparam("last_"))
        beginning = _without(exchanges, "seq").where(same(exchanges, "direction"), of_beginning).order_by(exchanges.c.key)
        self.beginning = self._text(_first(beginning, _LIMIT))
        newest = exchanges.c.seq.desc()
        self.newest = self._text(_first(_without(exchanges, "seq").order_by(newest), _LIMIT))
        self.newest_of = self._text(_first(_without(exchanges, "seq").where(same(exchanges, "direction")).order_by(newest), _LIMIT))
        self.sealed = self._text(_without(sealed, "direction", "exchange").where(same(sealed, "direction", "exchange")))
        of_passage = select(passages.c.recipient, passages.c.state, passages.c.updated)
        self.passages = self._text(of_passage.where(same(passages, "direction", "exchange")).order_by(passages.c.recipient))
        self.envelopes = self._text(select(envelopes.c.org, envelopes.c.body).where(same(envelopes, "direction", "exchange")))
        placed = select(sealed.c.content_size, sealed.c.blob, contents.c.body).select_from(
            sealed.outerjoin(contents, _joined(contents, sealed))
        )
        self.content = self._text(placed.where(same(sealed, "direction", "exchange")))
        self.blob = self._text(_first(select(sealed.c.blob).where(same(sealed, "blob")), _ONE))
        self.wanted = self._text(
            select(sealed.c.blob)
            .distinct()
            .select_from(work.join(sealed, _joined(work, sealed)))
            .where(sealed.c.blob.is_not(None), work.c.kind.in_([literal_column("'deliver'"), literal_column("'hand-over'")]))
        )
        of_source = OUTBOUND_OFFER & same(exchanges, "office", "source")
        self.taken = self._text(select(exchanges.c.key, exchanges.c.content_digest).where(of_source).order_by(exchanges.c.seq))
        receipt = _without(receipts, "seq", "digest_key").order_by(receipts.c.seq)
        self.receipts = self._text(receipt.where(same(receipts, "direction", "exchange")))
        self.receipt = self._text(_first(receipt.where(same(receipts, "digest_key", "digest")), _ONE))
        self.due = self._text(_first(select(work).order_by(work.c.due, work.c.key), _LIMIT))
        self.kept = self._text(select(shelves.c.body).where(same(shelves, "shelf", "name")))
        self.token = self._text(select(checkpoints.c.token).where(same(checkpoints, "size")))
        self.remembered = self._text(select(remembered.c.value).where(same(remembered, "name")))
        self.leaves = self._text(select(leaves.c.idx, leaves.c.body).where(same(leaves, "exchange")).order_by(leaves.c.idx))
        self.leaf = self._text(select(leaves.c.body).where(same(leaves, "idx")))
        self.latest = self._text(_first(select(checkpoints).order_by(checkpoints.c.size.desc()), _ONE))
        within = (checkpoints.c.size > bindparam("place_")) & (checkpoints.c.size <= bindparam("last_"))
        above = select(checkpoints).where(within).order_by(checkpoints.c.size)
        self.above = self._text(_first(above, _ONE))
        self.above_with_token = self._text(_first(above.where(checkpoints.c.token.is_not(None)), _ONE))
        self._expired: dict[int, str] = {}
        self._unsigned: dict[int, str] = {}

    def expired(self, states: int) -> str:
        """Who waits in one of so many states for an exchange that has run out, longest first: (direction, *states, before, limit)."""
        text = self._expired.get(states)
        if text is None:
            whole = passages.join(exchanges, _joined(exchanges, passages, key="key")).outerjoin(sealed, _joined(sealed, passages))
            waiting = passages.c.state.in_([bindparam(f"state_{number}") for number in range(states)])
            expires = func.coalesce(sealed.c.expires, exchanges.c.expires)
            found = select(passages.c.exchange, passages.c.recipient).select_from(whole)
            found = found.where(same(passages, "direction"), waiting, expires < bindparam("before_"))
            found = found.order_by(expires, passages.c.exchange, passages.c.recipient)
            text = self._expired[states] = self._text(_first(found, _LIMIT))
        return text

    def unsigned(self, levels: int) -> str:
        """Arrivals in a state that ran out between two moments and are of none of so many levels, longest first.

        (from, before, state, *levels, limit). By the moment they run out alone: of what was delivered and needs no signature there may
        be any number, and its state would find all of it.
        """
        text = self._unsigned.get(levels)
        if text is None:
            within = (sealed.c.expires >= bindparam("from_")) & (sealed.c.expires < bindparam("before_"))
            # Asked one by one and not joined: a join would begin with the passages, of which there is any number in that direction.
            there = exists(_ONE).select_from(passages).where(_joined(passages, sealed), passages.c.state == bindparam("state_"))
            found = select(sealed.c.exchange).where(ARRIVAL, within, there)
            if levels:
                unasked = exchanges.c.level.in_([bindparam(f"level_{number}") for number in range(levels)])
                opened = (exchanges.c.direction == sealed.c.direction) & (exchanges.c.key == sealed.c.exchange)
                found = found.where(~exists(_ONE).select_from(exchanges).where(opened, unasked))
            found = found.order_by(sealed.c.expires, sealed.c.exchange)
            text = self._unsigned[levels] = self._text(_first(found, _LIMIT))
        return text

    def _text(self, statement: Select[Any]) -> str:
        return text_of(statement, self._dialect)


def _first(statement: Select[Any], limit: ColumnElement[Any]) -> Select[Any]:
    return statement.limit(limit).offset(literal_column("0"))


def _without(table: Table, *columns: str) -> Select[Any]:
    """Every other column, in the order of the table."""
    return select(*(column for column in table.columns if column.name not in columns))


def _joined(one: Table, other: Table, *, key: str = "exchange") -> ColumnElement[bool]:
    return (one.c.direction == other.c.direction) & (one.c[key] == other.c.exchange)
