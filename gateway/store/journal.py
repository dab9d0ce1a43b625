"""The journal: the only way to change state, and the only writer of the database (ports.Journal).

One thread owns one connection. It drains what is queued, carries the batch out in one transaction, and answers everybody at once after
COMMIT, so that the cost of a sync is shared by whoever waited for it. What a crash means here: before COMMIT returned, nothing of any
member exists and nobody was told anything; after it, every member is durable, whether or not its asker still lives to hear of it.

A conflict fails its member alone. A disk found full fails the batch alone: the database says for certain that nothing of it was committed,
the tree in memory is discarded and read again, and the next batch may find room. Any other failure of the database, and above all of COMMIT itself, leaves a fate this process must not
guess: the journal stops, everybody waiting and everybody after them gets JournalStopped, and the next start reads back what is there.

    journal = Journal.open(home / "yizhan.db", log_key=key, origin="bureau.example/node-1/2026.1", mark=home / "mark")
    recorded = await journal.record(step)
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from crypto.errors import Malformed, YizhanError
from crypto.notes import LogKey
from gateway.core.errors import JournalStopped, NoRoom
from gateway.core.step import Finish, Keep, KeepSealed, Remember, Schedule, Step, StoredContent
from gateway.flow.desk import Desk
from gateway.flow.ports import Recorded
from gateway.store import schema
from gateway.store.apply import NotTogether, Together, name_conflict
from gateway.store.files import Headroom, open_for_change, sync_folder
from gateway.store.log import AuditLog, Page
from gateway.store.statements import Row, Statements
from gateway.store.transactions import found_no_room, settle, transactions

MAX_BATCH = 256  # steps in one transaction: a commit stays short, and so does the wait of whoever comes next
LINGER = 0.02  # seconds a busy writer waits for more: a commit's fixed cost (measured: 1 to 2 ms of CPU) is shared by those who come
MIN_FREE = 64 * 1024 * 1024  # what a batch, the write-ahead log and its checkpoint may need at once, several times over

ROOM_SECONDS = 0.1

_LOG = logging.getLogger(__name__)

OnCommit = Callable[[int, float], None]  # how many steps one commit carried, how many seconds it took; must not raise

_LEAFLESS = (Schedule, Finish, Keep, Remember)


class Journal:
    """The writer. Made by ``open``; ``close`` drains and ends it."""

    def __init__(self, connection: Connection, log: AuditLog, headroom: Headroom, on_commit: OnCommit | None) -> None:
        """Private to ``open``."""
        dbapi = connection.dialect.loaded_dbapi
        self._connection = connection
        self._cursor: Any = connection.connection.cursor()
        self._database: type[Exception] = dbapi.Error
        # What one member's values can cause; everything else the driver raises is the database's own trouble.
        self._refused = (NotTogether, Malformed, dbapi.IntegrityError, dbapi.DataError, dbapi.InterfaceError, dbapi.ProgrammingError)
        self._transaction = transactions(connection.dialect, self._cursor, read_only=False)
        self._statements = Statements(connection.dialect)
        self._log = log
        self._headroom = headroom
        self._on_commit = on_commit
        self._room_seen = float("-inf")
        self._stopped: str | None = None
        self._desk: Desk[Step, Recorded] = Desk("journal", self._serve, ceiling=MAX_BATCH, linger=LINGER, idle=self._idle)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        log_key: LogKey,
        origin: str,
        mark: Path,
        min_free: int = MIN_FREE,
        on_commit: OnCommit | None = None,
    ) -> Self:
        """Open or create the database, read the tree back and hold it against checkpoint and mark.

        The caller holds the home lock. Raises NewerDatabase, NoRoom, JournalStopped.
        """
        os.close(open_for_change(path))  # for its owner alone from the first byte on
        sync_folder(path.parent)
        log = AuditLog(log_key, origin, mark)
        with _translating(path), ExitStack() as undo:
            connection = undo.enter_context(schema.connect(path).connect())
            settle(connection)
            with connection.begin():
                schema.prepare(connection)
                log.restore(connection, connection.connection.cursor())
            undo.pop_all()
        return cls(connection, log, Headroom(path.parent, min_free), on_commit)

    @property
    def size(self) -> int:
        """How many leaves the log has."""
        return self._log.size

    @property
    def last_at(self) -> str:
        """The moment of the newest leaf as it spells it, empty before the first: the clock must not be behind it."""
        return self._log.last_at

    @property
    def stopped(self) -> str | None:
        """Why nothing more is recorded, None while all is well."""
        return self._stopped

    async def record(self, step: Step) -> Recorded:
        """Make a step durable, whole or not at all. Raises AlreadyOpen, Superseded, NoRoom (this step alone), JournalStopped."""
        _check(step)
        if self._stopped is not None:
            raise JournalStopped(self._stopped)
        return await self._desk.ask(step)

    def check_room(self) -> None:
        """Raises NoRoom when nothing could be recorded now."""
        self._headroom.check()

    def close(self) -> None:
        """Record what is queued, then end. Harmless twice."""
        self._desk.close()
        self._stopped = self._stopped or "the journal is closed"
        self._log.close()
        with suppress(self._database):
            self._cursor.close()
        self._connection.close()
        self._connection.engine.dispose()

    # ---- the writer thread

    def _serve(self, steps: Sequence[Step]) -> Sequence[Recorded | Exception]:
        if self._stopped is not None:
            return [JournalStopped(self._stopped) for _ in steps]
        started = time.perf_counter()
        try:
            self._check_room(started)
        except NoRoom as error:
            return [NoRoom(str(error), **error.facts) for _ in steps]
        try:
            answers = self._commit(steps)
        except (self._database, OSError, YizhanError) as error:
            if found_no_room(error) and self._undone():
                return [NoRoom(f"the disk is full: {error}") for _ in steps]
            self._stop(error)
            return [JournalStopped(f"{self._stopped}") for _ in steps]
        except BaseException as error:
            self._stop(error)  # a defect: not even the tree in memory can be trusted after it
            raise
        if self._on_commit is not None:
            self._on_commit(len(steps), time.perf_counter() - started)
        return answers

    def _check_room(self, now: float) -> None:
        """Raises NoRoom. The answer holds for a moment: asking costs more than a small commit, and the head-room outlasts that moment."""
        if now - self._room_seen >= ROOM_SECONDS:
            self._headroom.check()
            self._room_seen = now

    def _commit(self, steps: Sequence[Step]) -> Sequence[Recorded | Exception]:
        """One transaction. Whatever this raises is of unknown fate."""
        transaction = self._transaction
        transaction.begin()
        page = self._log.page()
        try:
            members: list[tuple[int, ...] | Exception] = list(self._together(steps, page))
        except self._refused:
            transaction.rollback()
            transaction.begin()
            page = self._log.page()
            members = [self._alone(step, page) for step in steps]
        if page.rows:
            nodes, checkpoint = self._log.bind(page)
            self._bulk(self._statements.leaf, page.rows)
            self._bulk(self._statements.node, nodes)
            self._bulk(self._statements.checkpoint, [checkpoint])
        transaction.commit()
        if page.rows:
            self._log.committed()
        return [one if isinstance(one, Exception) else Recorded(leaves=one, tree_size=page.size) for one in members]

    def _undone(self) -> bool:
        """A batch that found the disk full never was: go back to what is there. Whether that is certain."""
        self._room_seen = float("-inf")
        try:
            if self._cursor.connection.in_transaction:  # the database may have rolled back by itself
                self._transaction.rollback()
            with self._connection.begin():
                self._log.read_again(self._connection, self._cursor)
        except (self._database, DBAPIError, OSError, YizhanError) as error:
            _LOG.warning("what became of a batch that found the disk full cannot be told: %s", error)
            return False
        return True

    def _together(self, steps: Sequence[Step], page: Page) -> list[tuple[int, ...]]:
        """All members in bulk: the leaf indices of each. Raises one of ``_refused`` when a member conflicts or cannot be written."""
        together = Together(self._statements)
        numbered: list[tuple[int, ...]] = []
        for step in steps:
            indices, objects = page.add(step.leaves)
            together.take(step, objects)
            numbered.append(indices)
        together.carry_out(self._cursor)
        return numbered

    def _alone(self, step: Step, page: Page) -> tuple[int, ...] | Exception:
        """One member in a savepoint of its own: its leaf indices, or why it fails."""
        before = len(page.rows)
        self._transaction.savepoint()
        try:
            numbered = self._together([step], page)[0]
        except self._refused as error:
            self._transaction.undo()
            self._transaction.release()
            page.cut(before)
            conflict = name_conflict(self._cursor, self._statements, step)
            conflict.__cause__ = error
            return conflict
        self._transaction.release()
        return numbered

    def _idle(self) -> bool:
        """Nothing is queued: put down what was left for later. Whether there is more."""
        try:
            return self._stopped is None and self._log.settle()
        except Exception as error:  # noqa: BLE001  # whatever it is, nothing may be recorded after it and nobody left waiting
            self._stop(error)
            return False

    def _bulk(self, text: str, rows: Sequence[Row]) -> None:
        if rows:
            self._cursor.executemany(text, rows)

    def _stop(self, error: BaseException) -> None:
        self._stopped = f"the journal stopped: {error}"
        # The driver's connection goes with whatever transaction it still holds, and only once no cursor keeps it alive.
        with suppress(self._database):
            self._cursor.close()
        self._connection.invalidate()


@contextmanager
def _translating(path: Path) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise JournalStopped(f"the database {path.name} cannot be read: {error.orig}") from error


def _check(step: Step) -> None:
    """What no caller of ours may ask for, found before it can fail anybody else's commit."""
    if not step.leaves and not all(isinstance(change, _LEAFLESS) for change in step.changes):
        raise AssertionError("internal: a step without a leaf may only schedule, finish, keep or remember")
    for change in step.changes:
        if isinstance(change, KeepSealed) and change.content is not None:
            _check_content(change.content)
        elif isinstance(change, Keep) and change.shelf == "token" and not change.name.isdecimal():
            raise AssertionError(f"internal: a token is kept by tree size, not by {change.name!r}")


def _check_content(content: StoredContent) -> None:
    if (content.inline is None) == (content.blob is None):
        raise AssertionError("internal: content lies in a row or in a blob")
    if content.inline is not None and not len(content.inline) == content.size <= schema.INLINE_CEILING:
        raise AssertionError(f"internal: {len(content.inline)} bytes of content in a row, announced as {content.size}")
