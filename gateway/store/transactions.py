"""Beginning and ending transactions on the driver's own cursor: the one place that knows how a database wants to be told.

A commit of the journal and a question of the ledger are a handful of statements; SQLAlchemy's Connection takes longer to begin and end a
transaction around them than the database does to carry them out. Texts are compiled by SQLAlchemy all the same (statements.py, questions.py).

    transaction = transactions(connection.dialect, cursor, read_only=False)
    transaction.begin()
    transaction.commit()
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, Dialect

from gateway.core.errors import JournalStopped, NoRoom

_SQLITE_FULL: Final = 13  # its documentation, Result Codes: given when a write finds no room, never by a sync


def found_no_room(error: BaseException) -> bool:
    """Whether the database ran out of disk before a commit was whole: nothing of the transaction is or will be there."""
    return getattr(error, "sqlite_errorcode", None) == _SQLITE_FULL


def settle(connection: Connection) -> None:
    """Carry what the write-ahead log holds over into the database file, and sync it, before anything rests on it.

    A commit whose sync failed may be read back after a restart although no disk ever held it: the kernel forgets what it could not
    write. Read from the log and written anew, it is as durable as any other. Raises NoRoom, JournalStopped.
    """
    if connection.dialect.name != "sqlite":
        return
    cursor = connection.connection.cursor()
    try:
        cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")
    except connection.dialect.loaded_dbapi.Error as error:
        if found_no_room(error):
            raise NoRoom(f"the disk is full: {error}") from error
        raise JournalStopped(f"the database cannot be written: {error}") from error
    finally:
        cursor.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Transactions:
    """What may be said about a transaction, ready to be called. Each raises the driver's errors."""

    begin: Callable[[], object]
    commit: Callable[[], object]
    rollback: Callable[[], object]
    savepoint: Callable[[], object]
    undo: Callable[[], object]  # back to the savepoint
    release: Callable[[], object]  # the savepoint is not needed any more


def transactions(dialect: Dialect, cursor: Any, *, read_only: bool) -> Transactions:
    """Those of one cursor. The writer takes the write lock at once: a batch must not find out at its end that it may not write."""
    if dialect.name != "sqlite":
        # A driver after PEP 249 begins by itself: PostgreSQL's begin is nothing, its commit and rollback are the connection's.
        raise AssertionError(f"internal: how transactions of {dialect.name} begin and end is not written down")
    say = partial(partial, cursor.execute)
    return Transactions(
        begin=say("BEGIN" if read_only else "BEGIN IMMEDIATE"),
        commit=say("COMMIT"),
        rollback=say("ROLLBACK"),
        savepoint=say("SAVEPOINT member"),
        undo=say("ROLLBACK TO member"),
        release=say("RELEASE member"),
    )
