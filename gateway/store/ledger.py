"""Reading what the journal committed (ports.Ledger), and what evidence needs of the log.

One thread owns one read-only connection. Questions that wait together share a read transaction, begun after the last of them was asked:
none sees half a step, and each sees whatever was recorded before it was put. A question alone that is one statement needs none: a
statement sees one state of the database.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from crypto.errors import LocalError, YizhanError
from gateway.core.exchange import Direction, State
from gateway.core.keys import id_of
from gateway.core.step import StoredContent, Work
from gateway.flow.desk import Desk
from gateway.flow.ports import CheckpointRow, ExchangeRow, PassageRow, ReceiptRow, WaitingRow
from gateway.store import schema
from gateway.store.epochs import epoch_of, index_of, last_place
from gateway.store.proofs import StoredTree
from gateway.store.questions import Questions
from gateway.store.schema import from_micros, to_micros
from gateway.store.statements import Row, digest_key
from gateway.store.transactions import transactions
from gateway.store.waiting import WaitingQuestions, in_order, waiting_row, work_of

MAX_BATCH = 64  # questions in one read transaction: a long one would keep the write-ahead log from being taken over


Asked = tuple[str, tuple[Any, ...]]  # one statement and its values
Read = Callable[[], Any]  # what needs more than one

_NOT_SEALED = (None,) * 6  # the columns of ``sealed`` but its expiry
_BEHIND = "~"  # greater than every character of a key
_STATES = {state.value: state for state in State}


class Unreadable(LocalError):
    """The database could not be read."""

    code = "unreadable"


class Ledger:
    """The reader of one database, which the journal has created."""

    def __init__(self, path: Path) -> None:
        self._engine = schema.connect(path, read_only=True)
        self._connection = self._engine.connect()
        self._cursor: Any = self._connection.connection.cursor()
        self._database: type[Exception] = self._connection.dialect.loaded_dbapi.Error
        self._transaction = transactions(self._connection.dialect, self._cursor, read_only=True)
        self._ask = Questions(self._connection.dialect)
        self._waiting = WaitingQuestions(self._connection.dialect)
        self._desk: Desk[Asked | Read, Any] = Desk("ledger", self._serve, ceiling=MAX_BATCH)

    def close(self) -> None:
        """Answer what was asked, then end. Harmless twice."""
        self._desk.close()
        with suppress(self._database):
            self._cursor.close()
        self._connection.close()
        self._engine.dispose()

    # ---- exchanges; each is asked for by its key (core/keys.py)

    async def exchange(self, direction: Direction, exchange: str) -> ExchangeRow | None:
        """Everything kept about one exchange but its content and envelopes."""

        def read() -> ExchangeRow | None:
            rows = self._all(self._ask.exchange, direction, exchange)
            return self._exchange_row(rows[0]) if rows else None

        return await self._desk.ask(read)  # type: ignore[no-any-return]

    async def named(self, name: str) -> ExchangeRow | None:
        """The accepted arrival the office knows by that name."""

        def read() -> ExchangeRow | None:
            rows = self._all(self._ask.named, name) if name else []
            return self._exchange_row(rows[0]) if rows else None

        return await self._desk.ask(read)  # type: ignore[no-any-return]

    async def beginning(self, text: str, *, limit: int = 100) -> tuple[ExchangeRow, ...]:
        """Every exchange whose key begins so, ours before arrivals; so many of each."""

        def read() -> tuple[ExchangeRow, ...]:
            found = [row for way in ("out", "in") for row in self._all(self._ask.beginning, way, text, text + _BEHIND, limit)]
            return tuple(self._exchange_row(row) for row in found)

        return await self._desk.ask(read)  # type: ignore[no-any-return]

    async def exchanges(self, *, limit: int = 100, direction: Direction | None = None) -> tuple[ExchangeRow, ...]:
        """Newest first."""

        def read() -> tuple[ExchangeRow, ...]:
            rows = self._all(self._ask.newest, limit) if direction is None else self._all(self._ask.newest_of, direction, limit)
            return tuple(self._exchange_row(row) for row in rows)

        return await self._desk.ask(read)  # type: ignore[no-any-return]

    async def envelopes(self, direction: Direction, exchange: str) -> dict[str, bytes]:
        """Envelope by organisation."""
        return dict(await self._rows(self._ask.envelopes, direction, exchange))

    async def content(self, direction: Direction, exchange: str) -> StoredContent | None:
        """Where the ciphertext lies, with its bytes when that is a row."""
        rows = await self._rows(self._ask.content, direction, exchange)
        if not rows or rows[0][0] is None:
            return None
        size, blob, inline = rows[0]
        return StoredContent(size=size, inline=inline, blob=blob)

    async def taken(self, office: str, source: str) -> tuple[tuple[str, str], ...]:
        """(exchange id, content digest) of every exchange opened from this source, oldest first."""
        return tuple(await self._rows(self._ask.taken, office, source))

    async def expired(
        self, direction: Direction, before: datetime, states: frozenset[State], *, limit: int = 1000
    ) -> tuple[tuple[str, str], ...]:
        """(exchange, recipient) whose exchange's ``expires`` lies before that moment and whose passage is in one of the states."""
        return tuple(await self._rows(self._ask.expired(len(states)), direction, *sorted(states), to_micros(before), limit))

    async def unsigned(
        self, since: datetime | None, before: datetime, *, but: frozenset[str] = frozenset(), limit: int = 1000
    ) -> tuple[str, ...]:
        """Arrivals the office has that ran out from ``since`` on, at no level of ``but``. Costs what ran out between the two moments."""
        first = 0 if since is None else to_micros(since)
        rows = await self._rows(self._ask.unsigned(len(but)), first, to_micros(before), State.DELIVERED, *sorted(but), limit)
        return tuple(exchange for (exchange,) in rows)

    # ---- receipts, work, shelves

    async def receipts(self, direction: Direction, exchange: str) -> tuple[ReceiptRow, ...]:
        """In order of arrival here."""
        return tuple(_receipt_row(row) for row in await self._rows(self._ask.receipts, direction, exchange))

    async def receipt(self, digest: str) -> ReceiptRow | None:
        """The receipt of that digest; issued and received here, it is one and the same. Raises Malformed for what is no digest."""
        rows = await self._rows(self._ask.receipt, digest_key(digest), digest)
        return _receipt_row(rows[0]) if rows else None

    async def due(self, *, limit: int = 10_000) -> tuple[Work, ...]:
        """All work, soonest first, whether due yet or not."""
        return tuple(work_of(row) for row in await self._rows(self._ask.due, limit))

    async def work(self, key: str) -> Work | None:
        """What is due under that key, or set aside."""
        rows = await self._rows(self._waiting.work, key)
        return work_of(rows[0]) if rows else None

    async def waiting(
        self, direction: Direction, states: frozenset[State], *, after: tuple[str, str] = ("", ""), limit: int = 1000
    ) -> tuple[WaitingRow, ...]:
        """Passages in one of the states, in the order of exchange and recipient, from behind ``after`` on."""

        def read() -> tuple[WaitingRow, ...]:
            asked = [(self._waiting.waiting, state.value, direction, *after, limit) for state in sorted(states)]
            return in_order([waiting_row(direction, row) for question in asked for row in self._all(*question)], limit)

        return await self._desk.ask(read)  # type: ignore[no-any-return]

    async def unnamed_blobs(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of these blobs that belong to no exchange."""

        def read() -> tuple[str, ...]:
            return tuple(name for name in names if not self._all(self._ask.blob, name))

        return await self._desk.ask(read)  # type: ignore[no-any-return]

    async def wanted_blobs(self) -> tuple[str, ...]:
        """The blobs that works still due will read."""
        return tuple(name for (name,) in await self._rows(self._ask.wanted))

    async def kept(self, shelf: str, name: str) -> bytes | None:
        """The bytes on a shelf under a name."""
        question = (self._ask.token, int(name)) if shelf == "token" else (self._ask.kept, shelf, name)
        return await self._value(*question)  # type: ignore[no-any-return]

    async def remembered(self, name: str) -> str | None:
        """A small named value of this gateway."""
        return await self._value(self._ask.remembered, name)  # type: ignore[no-any-return]

    # ---- the log

    async def leaves(self, exchange: str) -> tuple[tuple[int, bytes], ...]:
        """Place and exact bytes of every leaf about the exchange, in either direction, in order."""
        return tuple(await self._rows(self._ask.leaves, exchange))

    async def leaf(self, place: int) -> bytes | None:
        """The exact bytes of one leaf."""
        return await self._value(self._ask.leaf, place)  # type: ignore[no-any-return]

    async def latest_checkpoint(self) -> CheckpointRow | None:
        """The newest one; None while the log is empty."""
        return _checkpoint(await self._rows(self._ask.latest))

    async def checkpoint_over(self, place: int) -> CheckpointRow | None:
        """The first checkpoint of its log with a token above that leaf, else the first one above it."""
        end = last_place(place)
        with_token = _checkpoint(await self._rows(self._ask.above_with_token, place, end))
        return with_token or _checkpoint(await self._rows(self._ask.above, place, end))

    async def proof(self, place: int, checkpoint: CheckpointRow) -> bytes:
        """A C2SP tlog-proof that the leaf stands below that checkpoint of its log. Raises ValueError for a leaf above it, TreeDamaged."""
        if epoch_of(place) != epoch_of(checkpoint.place - 1):
            raise ValueError("a leaf and a checkpoint of two logs")

        def prove() -> bytes:
            tree = StoredTree(self._cursor, self._connection.dialect, epoch_of(place))
            return tree.tlog_proof(index_of(place), checkpoint.size, checkpoint.note)

        return await self._desk.ask(prove)  # type: ignore[no-any-return]

    # ---- the reader thread

    def _serve(self, questions: Sequence[Asked | Read]) -> list[Any]:
        if len(questions) == 1 and isinstance(questions[0], tuple):
            return [self._answer(questions[0])]
        try:
            self._transaction.begin()
            try:
                answers = [self._answer(question) for question in questions]
            except BaseException:
                self._transaction.rollback()
                raise
            self._transaction.commit()
        except self._database as error:
            return [Unreadable(f"the database cannot be read: {error}") for _ in questions]
        return answers

    def _answer(self, question: Asked | Read) -> Any:
        try:
            if isinstance(question, tuple):
                return self._cursor.execute(*question).fetchall()
            return question()
        except (YizhanError, ValueError) as error:
            return error
        except self._database as error:
            return Unreadable(f"the database cannot be read: {error}")

    async def _rows(self, text: str, *values: Any) -> list[Row]:
        return await self._desk.ask((text, values))  # type: ignore[no-any-return]

    async def _value(self, text: str, *values: Any) -> Any:
        rows = await self._rows(text, *values)
        return rows[0][0] if rows else None

    def _all(self, text: str, *values: Any) -> list[Row]:
        return self._cursor.execute(text, values).fetchall()  # type: ignore[no-any-return]

    def _exchange_row(self, row: Row) -> ExchangeRow:
        direction, exchange, created, level, urgency, suite, sender_org, sender_gateway, office, source, digest, private, expires, name = (
            row
        )
        found = self._all(self._ask.sealed, direction, exchange)
        transmittal, transmittal_digest, nro, own_key, size, blob, expires = found[0] if found else (*_NOT_SEALED, expires)
        passages = self._all(self._ask.passages, direction, exchange)
        return ExchangeRow(
            direction=direction,
            id=id_of(exchange),
            created=from_micros(created),
            level=level,
            urgency=urgency,
            suite=suite,
            sender_org=sender_org,
            sender_gateway=sender_gateway,
            office=office,
            source=source,
            content_digest=digest,
            private=private,
            expires=None if expires is None else from_micros(expires),
            transmittal=transmittal,
            transmittal_digest=transmittal_digest,
            nro=nro,
            own_key=own_key,
            content=None if size is None else StoredContent(size=size, blob=blob),
            passages=tuple([_passage_row(*passage) for passage in passages]),
            name=name,
        )


def _passage_row(recipient: str, state: str, updated: int) -> PassageRow:
    return PassageRow(recipient=recipient, state=_STATES.get(state) or State(state), updated=from_micros(updated))


def _receipt_row(row: Row) -> ReceiptRow:
    digest, direction, exchange, recipient, event, issuer_org, at, body, signature, leaf = row
    return ReceiptRow(
        digest=digest,
        direction=direction,
        exchange=exchange,
        recipient=recipient,
        event=event,
        issuer_org=issuer_org,
        at=from_micros(at),
        body=body,
        signature=signature,
        leaf=leaf,
    )


def _checkpoint(rows: list[Row]) -> CheckpointRow | None:
    if not rows:
        return None
    place, note, token = rows[0]
    return CheckpointRow(place=place, size=index_of(place - 1) + 1, note=note, token=token)
