"""Every statement of the writer, compiled once from the tables of schema.py, and how a change becomes its rows.

SQLAlchemy compiles the text for the database at hand; executing it goes straight to the driver's cursor, because binding values through
the expression language costs more than the database does. Rows are tuples in the order of the placeholders.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import ClauseElement, ColumnElement, Dialect, Table, and_, bindparam, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.compiler import SQLCompiler

from crypto.digests import parse_digest
from gateway.core.step import Advance, KeepReceipt, KeepSealed, OpenExchange, Work
from gateway.store import schema
from gateway.store.schema import to_micros

Row = tuple[Any, ...]

_UPSERTS: dict[str, Callable[[Table], Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class Statements:
    """The texts for one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        upsert = _UPSERTS[dialect.name]
        self.exchange = self._insert(schema.exchanges)
        self.passage = self._insert(schema.passages)
        self.sealed = self._insert(schema.sealed)
        self.envelope = self._insert(schema.envelopes)
        self.content = self._insert(schema.contents)
        receipt = upsert(schema.receipts).values(_placeholders(schema.receipts))
        self.receipt = self._text(receipt.on_conflict_do_nothing(index_elements=["direction", "exchange", "digest"]))
        self.keep = self._text(upsert(schema.shelves).values(_placeholders(schema.shelves)).on_conflict_do_nothing())
        self.schedule = self._text(_replace(upsert, schema.work))
        self.finish = self._text(delete(schema.work).where(same(schema.work, "key")))
        self.finish_same = self._text(delete(schema.work).where(same(schema.work, "key", "detail")))
        self.remember = self._text(_replace(upsert, schema.remembered))
        bare = same(schema.checkpoints, "size") & schema.checkpoints.c.token.is_(None)
        self.token = self._text(update(schema.checkpoints).where(bare).values(token=bindparam("token_")))
        self.leaf = self._insert(schema.leaves)
        self.node = self._insert(schema.nodes)
        self.checkpoint = self._insert(schema.checkpoints)
        self._advances: dict[int, str] = {}
        self._compile_questions()

    def advance(self, expected: int) -> str:
        """Move a passage that is in one of ``expected`` states: (to, updated, direction, exchange, recipient, *states)."""
        text = self._advances.get(expected)
        if text is None:
            table = schema.passages
            where = same(table, "direction", "exchange", "recipient")
            states = table.c.state.in_([bindparam(f"state_{number}") for number in range(expected)])
            text = self._text(update(table).where(where, states).values(state=bindparam("to_"), updated=bindparam("at_")))
            self._advances[expected] = text
        return text

    def _compile_questions(self) -> None:
        """What the writer asks to name a conflict."""
        exchanges = schema.exchanges
        found = select(exchanges.c.key, exchanges.c.sender_org, exchanges.c.content_digest)
        self.find_exchange = self._text(found.where(same(exchanges, "direction", "key")))
        offer = schema.OUTBOUND_OFFER & same(exchanges, "office", "source", "content_digest")
        self.find_offer = self._text(found.where(offer))
        self.find_name = self._text(select(exchanges.c.key).where(schema.NAMED & same(exchanges, "name")))
        self.find_sealed = self._text(select(schema.sealed.c.transmittal_digest).where(same(schema.sealed, "direction", "exchange")))
        self.find_state = self._text(select(schema.passages.c.state).where(same(schema.passages, "direction", "exchange", "recipient")))
        self.find_checkpoint = self._text(select(schema.checkpoints.c.size).where(same(schema.checkpoints, "size")))

    def _insert(self, table: Table) -> str:
        return self._text(insert(table).values(_placeholders(table)))

    def _text(self, statement: ClauseElement) -> str:
        return text_of(statement, self._dialect)


def text_of(statement: ClauseElement, dialect: Dialect) -> str:
    """A statement's text for the driver, its values in the order of the placeholders."""
    compiled = statement.compile(dialect=dialect)
    assert isinstance(compiled, SQLCompiler)
    if not compiled.positional:
        raise AssertionError(f"internal: open {dialect.name} with a positional paramstyle")
    if any(value is not None for value in compiled.params.values()):
        raise AssertionError(f"internal: a value is compiled into {compiled.string}")
    return compiled.string


def same(table: Table, *columns: str) -> ColumnElement[bool]:
    """Those columns equal placeholders, in that order."""
    return and_(*(table.c[column] == bindparam(f"{column}_") for column in columns))


def _placeholders(table: Table) -> dict[str, Any]:
    """Every column but a counted key, in the order of the table."""
    return {column.name: bindparam(column.name) for column in table.columns if column.name != "seq"}


def _replace(upsert: Callable[[Table], Any], table: Table) -> Any:
    """Insert, or replace every other column of the row that has the key."""
    statement = upsert(table).values(_placeholders(table))
    keys = [column.name for column in table.primary_key]
    rest = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=rest)


def exchange_row(change: OpenExchange) -> Row:
    """A row of ``exchanges``."""
    return (
        change.direction,
        change.key,
        to_micros(change.at),
        change.level,
        change.urgency,
        change.suite,
        change.sender_org,
        change.sender_gateway,
        change.office,
        change.source,
        change.content_digest,
        change.private,
        None if change.expires is None else to_micros(change.expires),
        change.name,
    )


def passage_rows(change: OpenExchange) -> list[Row]:
    """The rows of ``passages`` an exchange begins with."""
    at = to_micros(change.at)
    return [(change.direction, change.key, recipient, change.state.value, at) for recipient in change.recipients]


def sealed_row(change: KeepSealed) -> Row:
    """A row of ``sealed``."""
    content = change.content
    return (
        change.direction,
        change.exchange,
        change.transmittal,
        change.transmittal_digest,
        change.nro,
        change.own_key,
        None if content is None else content.size,
        None if content is None else content.blob,
        to_micros(change.expires),
    )


def receipt_row(change: KeepReceipt, leaf: int | None) -> Row:
    """A row of ``receipts``."""
    return (
        digest_key(change.digest),
        change.digest,
        change.direction,
        change.exchange,
        change.recipient,
        change.event,
        change.issuer_org,
        to_micros(change.at),
        change.body,
        change.signature,
        leaf,
    )


def work_row(item: Work) -> Row:
    """A row of ``work``."""
    return (
        item.key,
        item.kind,
        item.direction,
        item.exchange,
        to_micros(item.due),
        item.peer,
        item.priority,
        item.attempts,
        item.detail,
        item.trouble,
    )


def advance_row(change: Advance, states: list[str]) -> Row:
    """The values of ``Statements.advance``."""
    return (change.to.value, to_micros(change.at), change.direction, change.exchange, change.recipient, *states)


def digest_key(digest: str) -> int:
    """The small key receipts are found by; several digests may share it. Raises Malformed."""
    return int.from_bytes(parse_digest(digest)[1][:8], "big", signed=True)
