"""The audit tree in the writer's hands: numbering leaves, hashing them, signing a checkpoint for every commit.

What a crash means here. Leaves are numbered while the members of a batch are carried out, hashed once all have succeeded, and written in
the transaction they speak of, together with the checkpoint. Before COMMIT nothing of it exists; after COMMIT all of it does. The tree in
memory is worth something only as long as every commit succeeds: after any other end the journal stops, and the next start reads the tree
from the database again and compares it with the last checkpoint signed and with the mark.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, func, select

from crypto.errors import Malformed, YizhanError
from crypto.merkle import Frontier, leaf_hash, root_from
from crypto.notes import Checkpoint, LogKey, make_checkpoint, open_checkpoint
from gateway.core.errors import JournalStopped, LogBehind
from gateway.core.leaf import Leaf
from gateway.store import schema
from gateway.store.epochs import epoch_of, first_place
from gateway.store.mark import Mark, MarkFile, read_mark
from gateway.store.proofs import STORED_LEVEL, StoredTree, TreeDamaged
from gateway.store.spelling import spell
from gateway.store.statements import Row


class Page:
    """The leaves of one batch, numbered and spelled; no hash is taken before all of its members have succeeded."""

    def __init__(self, size: int, first: int, last_at: str) -> None:
        """Leaves go on behind a tree of ``size``, whose first leaf has the place ``first``."""
        self.rows: list[Row] = []  # of table leaves
        self._before = size
        self._first = first + size
        self._moments = [last_at]

    def add(self, leaves: Sequence[Leaf]) -> tuple[tuple[int, ...], dict[str, int]]:
        """Number the leaves of one member: their places, and which of them is about which object."""
        indices: list[int] = []
        objects: dict[str, int] = {}
        for leaf in leaves:
            index = self._first + len(self.rows)
            spelled = self._not_before(leaf)
            self.rows.append((index, leaf.key, spell(spelled)))
            self._moments.append(spelled.at)
            indices.append(index)
            if leaf.object is not None:
                objects[leaf.object] = index
        return tuple(indices), objects

    def cut(self, length: int) -> None:
        """Forget every leaf behind the first ``length``: their member failed."""
        del self.rows[length:]
        del self._moments[length + 1 :]

    @property
    def last_at(self) -> str:
        return self._moments[-1]

    @property
    def size(self) -> int:
        """The size of the tree once this page is in it."""
        return self._before + len(self.rows)

    def _not_before(self, leaf: Leaf) -> Leaf:
        """Time in the log never goes back, whatever clock or thread the leaf comes from."""
        last = self._moments[-1]
        # Without the Z the longer spelling of one second is the later one, so text compares like time.
        return leaf if leaf.at[:-1] >= last[:-1] else msgspec.structs.replace(leaf, at=last)


class AuditLog:
    """The frontier of the tree, its signing key and its mark."""

    def __init__(self, key: LogKey, origin: str, mark: Path) -> None:
        self._key = key
        self._origin = origin
        self._first = 0  # place of its first leaf
        self._mark_path = mark
        self._mark: MarkFile | None = None
        self._frontier = Frontier.empty()
        self._root = self._frontier.root()
        self._last_at = ""

    @property
    def size(self) -> int:
        return self._frontier.size

    @property
    def last_at(self) -> str:
        """The moment of the newest leaf, empty before the first."""
        return self._last_at

    def restore(self, connection: Connection, cursor: Any) -> None:
        """Read the tree back and hold it against what was signed. Raises JournalStopped when they differ.

        1. The database belongs to this origin.
        2. Its leaves and stored hashes make the root that its last checkpoint states under our key.
        3. The mark is not ahead of it, and names a root this tree went through.
        """
        try:
            self._restore(connection, cursor)
        except (TreeDamaged, Malformed) as error:
            raise JournalStopped(f"the log in the database is damaged ({error}): run audit verify") from error

    def _restore(self, connection: Connection, cursor: Any) -> None:
        epoch = self._find_epoch(connection)
        self._first = first_place(epoch)
        tree = StoredTree(cursor, connection.dialect, epoch)
        self._read(connection, tree)
        self._check_mark(tree)
        self._mark = MarkFile(self._mark_path, Mark(origin=self._origin, size=self.size, root=self._root))

    def _read(self, connection: Connection, tree: StoredTree) -> None:
        newest = connection.scalar(select(func.max(schema.leaves.c.idx)))
        size = 0 if newest is None else max(0, newest + 1 - self._first)
        self._frontier = _frontier(tree, size)
        self._root = self._frontier.root()
        self._check_checkpoint(connection)
        if size:
            self._last_at = Leaf.from_bytes(tree.leaves(size - 1, size)[0]).at  # in a new log: its first leaf, which looked back

    def read_again(self, connection: Connection, cursor: Any) -> None:
        """Discard the tree in memory for the one in the database. Raises JournalStopped, TreeDamaged, Malformed."""
        self._read(connection, StoredTree(cursor, connection.dialect, epoch_of(self._first)))

    def page(self) -> Page:
        """A page for the next batch."""
        return Page(self.size, self._first, self._last_at)

    def bind(self, page: Page) -> tuple[list[Row], Row]:
        """Hash a finished page into the tree: the rows of ``nodes`` and the row of ``checkpoints``. From here only COMMIT or stop."""
        nodes: list[Row] = []
        for _, _, body in page.rows:
            completed = self._frontier.append(leaf_hash(body))
            nodes += [(level, index + (self._first >> level), node) for level, index, node in completed if level >= STORED_LEVEL]
        self._last_at = page.last_at
        self._root = self._frontier.root()
        checkpoint = Checkpoint(origin=self._origin, size=self.size, root=self._root)
        return nodes, (self._first + self.size, make_checkpoint(checkpoint, self._key), None)

    def committed(self) -> None:
        """What was bound is durable: move the mark."""
        assert self._mark is not None
        self._mark.move(self.size, self._root)

    def settle(self) -> bool:
        """Put down what the mark still owes the disk. Whether it owes more. Raises JournalStopped."""
        return self._mark is not None and self._mark.settle()

    def close(self) -> None:
        if self._mark is not None:
            self._mark.close()

    def _find_epoch(self, connection: Connection) -> int:
        newest = newest_origin(connection)
        if newest is None:
            connection.execute(schema.origins.insert().values(epoch=1, origin=self._origin))
            return 1
        epoch, there = newest
        if there != self._origin:
            raise JournalStopped(f"the database holds the log {there}, not {self._origin}", found=there, expected=self._origin)
        return epoch

    def _check_checkpoint(self, connection: Connection) -> None:
        ours = schema.checkpoints.c.size > self._first
        last = connection.scalar(select(schema.checkpoints.c.note).where(ours).order_by(schema.checkpoints.c.size.desc()).limit(1))
        if last is None:
            if self.size:
                raise JournalStopped(f"{self.size} leaves and no checkpoint: run audit verify", size=self.size)
            return
        try:
            signed = open_checkpoint(last, [self._key.verifier], origin=self._origin)
        except YizhanError as error:
            raise JournalStopped(f"the last checkpoint is not ours: {error}") from error
        if (signed.size, signed.root) != (self.size, self._root):
            raise JournalStopped(
                f"the log in the database ({self.size} leaves) is not what was signed ({signed.size} leaves): run audit verify",
                size=self.size,
                signed=signed.size,
            )

    def _check_mark(self, tree: StoredTree) -> None:
        mark = read_mark(self._mark_path)
        if mark is None:
            if self.size:
                raise JournalStopped(
                    f"the log has {self.size} leaves and its mark {self._mark_path.name} is gone: a person must look", size=self.size
                )
            return
        if mark.origin != self._origin:
            raise JournalStopped(f"the mark is of the log {mark.origin}, not of {self._origin}: a person must look", mark=mark.origin)
        if mark.size > self.size:
            raise LogBehind(
                f"{self.size} of {mark.size} leaves of {mark.origin} are there: an older copy, never appended to",
                size=self.size,
                mark=mark.size,
            )
        if root_from(mark.size, tree.hash_at) != mark.root:
            raise JournalStopped(f"the log had another root at {mark.size} leaves than its mark says: run audit verify", mark=mark.size)


def newest_origin(connection: Connection) -> tuple[int, str] | None:
    """Epoch and origin of the log the database goes on with; None for a database without any."""
    row = connection.execute(select(schema.origins).order_by(schema.origins.c.epoch.desc()).limit(1)).first()
    return (row.epoch, row.origin) if row is not None else None


def _frontier(tree: StoredTree, size: int) -> Frontier:
    """The frontier of ``size`` leaves: one stored subtree for every set bit, largest first."""
    hashes: list[bytes] = []
    start = 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            hashes.append(tree.hash_at(level, start >> level))
            start += 1 << level
    return Frontier.from_parts(size, hashes)
