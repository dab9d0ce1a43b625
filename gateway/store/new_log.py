"""Beginning a new log after a loss: the old one stays as it is and is never appended to, the new one says where the old one ended.

A database that was put back from an older copy has signed more than it holds (``mark``), and nobody may go on with it as if nothing had
happened: there would be two histories under one name. So the log gets a new origin, whose first leaf names the last checkpoint that is
left of the old one, how many leaves had been signed, who decided it, and why. Peers and courts see the gap; nothing hides it.

What a crash means here: the database changes in one transaction, then the mark, then the file that names the origin. Begun again, it
finds what is there and goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from sqlalchemy import Connection, func, select

from crypto.digests import digest
from crypto.merkle import leaf_hash
from crypto.notes import Checkpoint, LogKey, make_checkpoint
from gateway.core.errors import JournalStopped
from gateway.core.leaf import Leaf
from gateway.store import schema
from gateway.store.epochs import first_place, index_of
from gateway.store.files import write_durably
from gateway.store.log import newest_origin
from gateway.store.mark import Mark, read_mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How the log a database went on with ends."""

    epoch: int
    origin: str
    size: int  # leaves there
    signed: int | None  # leaves that had been signed by the mark; None where there is no mark
    checkpoint: str  # digest of the last checkpoint note there
    last_at: str  # the moment of its newest leaf

    @property
    def lost(self) -> int:
        """How many leaves were signed and are not there."""
        return max(0, (self.signed or 0) - self.size)


def look(database: Path, mark: Path) -> Ended:
    """How the log there ends. Raises JournalStopped where there is none, or its mark is damaged."""
    with _reading(database) as connection:
        return _look(connection, read_mark(mark))


def remembered(database: Path, name: str) -> str | None:
    """A small named value of the gateway."""
    with _reading(database) as connection:
        return connection.scalar(select(schema.remembered.c.value).where(schema.remembered.c.name == name))


def begin(
    database: Path, mark: Path, ended: Ended, *, key: LogKey, origin: str, leaf: Leaf, remember: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Make ``origin`` the log that is gone on with, ``leaf`` its first. The caller holds the home lock. Raises JournalStopped, NoRoom."""
    body = leaf.to_bytes()
    place, root = first_place(ended.epoch + 1), leaf_hash(body)  # the root over one leaf is its hash (RFC 6962 2.1)
    engine = schema.connect(database)
    try:
        with engine.begin() as connection:
            connection.execute(schema.origins.insert().values(epoch=ended.epoch + 1, origin=origin))
            connection.execute(schema.leaves.insert().values(idx=place, exchange=None, body=body))
            note = make_checkpoint(Checkpoint(origin=origin, size=1, root=root), key)
            connection.execute(schema.checkpoints.insert().values(size=place + 1, note=note, token=None))
            for name, value in remember.items():
                connection.execute(schema.remembered.insert().values(name=name, value=value))
    finally:
        engine.dispose()
    write_durably(mark, Mark(origin=origin, size=1, root=root).to_bytes())


def catch_up(database: Path, mark: Path, origin: str) -> bool:
    """Whether a new log was begun behind ``origin`` and only the files around it are missing; the mark is put right then."""
    with _reading(database) as connection:
        newest = newest_origin(connection)
        if newest is None or newest[1] == origin or newest[0] == 1:
            return False
        before = connection.scalar(select(schema.origins.c.origin).where(schema.origins.c.epoch == newest[0] - 1))
        if before != origin:
            return False
        body = connection.scalar(select(schema.leaves.c.body).where(schema.leaves.c.idx == first_place(newest[0])))
    write_durably(mark, Mark(origin=newest[1], size=1, root=leaf_hash(bytes(body or b""))).to_bytes())
    return True


@contextmanager
def _reading(database: Path) -> Iterator[Connection]:
    """A connection that changes nothing: the gateway may be at work on the same file."""
    engine = schema.connect(database, read_only=True)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _look(connection: Connection, mark: Mark | None) -> Ended:
    schema.check_version(connection)
    newest = newest_origin(connection)
    if newest is None:
        raise JournalStopped("there is no log in this database yet")
    epoch, origin = newest
    first = first_place(epoch)
    place = connection.scalar(select(func.max(schema.leaves.c.idx)))
    ours = schema.checkpoints.c.size > first
    note = connection.scalar(select(schema.checkpoints.c.note).where(ours).order_by(schema.checkpoints.c.size.desc()).limit(1))
    if place is None or place < first or note is None:
        raise JournalStopped(f"the log {origin} is empty: nothing of it can be given up")
    body = connection.scalar(select(schema.leaves.c.body).where(schema.leaves.c.idx == place))
    return Ended(
        epoch=epoch,
        origin=origin,
        size=index_of(place) + 1,
        signed=mark.size if mark is not None and mark.origin == origin else None,
        checkpoint=digest("sha256", bytes(note)),
        last_at=Leaf.from_bytes(bytes(body or b"")).at,
    )
