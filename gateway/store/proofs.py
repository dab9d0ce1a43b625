"""Reading the stored tree: the hash of any complete subtree, and proofs that a leaf stands below a checkpoint.

Hashes of complete subtrees are stored from STORED_LEVEL up; what is smaller is hashed again from at most 2^STORED_LEVEL leaves. A proof
therefore costs O(log n) whatever the size of the log.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Dialect, bindparam, select

from crypto.errors import LocalError
from crypto.merkle import Frontier, inclusion_proof, leaf_hash
from crypto.notes import tlog_proof
from gateway.store import schema
from gateway.store.epochs import first_place
from gateway.store.statements import text_of

STORED_LEVEL = 4  # 16 leaves: one stored hash for eight leaves in all, instead of one for each


class TreeDamaged(LocalError):
    """A leaf or a subtree hash the log needs is not in the database: run ``audit verify``."""

    code = "tree-damaged"


class StoredTree:
    """The tree of one epoch as the database holds it, through one cursor. Indices count from the beginning of that log."""

    def __init__(self, cursor: Any, dialect: Dialect, epoch: int) -> None:
        self._cursor = cursor
        self._first = first_place(epoch)
        nodes, leaves = schema.nodes, schema.leaves
        one = (nodes.c.level == bindparam("level_")) & (nodes.c.idx == bindparam("idx_"))
        self._node = text_of(select(nodes.c.hash).where(one), dialect)
        some = (leaves.c.idx >= bindparam("first_")) & (leaves.c.idx < bindparam("end_"))
        self._leaves = text_of(select(leaves.c.body).where(some).order_by(leaves.c.idx), dialect)

    def hash_at(self, level: int, index: int) -> bytes:
        """The hash of complete subtree ``index`` of 2^level leaves. Raises TreeDamaged."""
        if level >= STORED_LEVEL:
            row = self._cursor.execute(self._node, (level, index + (self._first >> level))).fetchone()
            if row is None:
                raise TreeDamaged(f"subtree {index} of level {level} is missing", level=level, index=index)
            return bytes(row[0])
        frontier = Frontier.empty()
        for body in self.leaves(index << level, (index + 1) << level):
            frontier.append(leaf_hash(body))
        return frontier.root()

    def leaves(self, first: int, end: int) -> list[bytes]:
        """The leaves from ``first`` up to but not including ``end``. Raises TreeDamaged when one is missing."""
        bodies = [bytes(body) for (body,) in self._cursor.execute(self._leaves, (self._first + first, self._first + end)).fetchall()]
        if len(bodies) != end - first:
            raise TreeDamaged(f"of leaves {first} to {end - 1} only {len(bodies)} are there", first=first, end=end)
        return bodies

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """The path from leaf ``index`` to the root of the tree of ``size`` leaves (RFC 6962 2.1.1). Raises TreeDamaged."""
        return inclusion_proof(index, size, self.hash_at)

    def tlog_proof(self, index: int, size: int, note: bytes) -> bytes:
        """A C2SP tlog-proof of leaf ``index`` against the checkpoint note of a tree of ``size`` leaves. Raises TreeDamaged."""
        return tlog_proof(index, self.inclusion(index, size), note)
