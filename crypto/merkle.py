"""The Merkle tree of the audit log: SHA-256, RFC 6962 2.1.

Nothing here stores a tree. ``Frontier`` is the little that must be known to append; proofs are computed through ``get_hash``, which
gives the hash of any complete subtree by level and index (level 0 is the leaves; subtree ``index`` of level ``n`` covers the leaves from
``index * 2^n`` on).

    frontier = Frontier.empty()
    nodes = frontier.append(leaf_hash(b"first"))      # what a store must keep for get_hash
    verify_inclusion(leaf_hash(b"first"), 0, frontier.size, inclusion_proof(0, frontier.size, get_hash), frontier.root())
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

from crypto.errors import Malformed, Unverified

HASH_BYTES = 32
MAX_SIZE = 2**53 - 1  # as every integer of ours; at a thousand leaves a second, 285,000 years
MAX_PROOF_HASHES = 106  # a consistency proof has at most two hashes a level, an inclusion proof one

EMPTY_ROOT = sha256(b"").digest()

GetHash = Callable[[int, int], bytes]
Node = tuple[int, int, bytes]  # a complete subtree: level, index, hash


def leaf_hash(data: bytes) -> bytes:
    """RFC 6962 2.1: the prefix keeps a leaf from passing as a node."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees side by side."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """The roots of the complete subtrees a tree of this size falls into, largest first: one for every set bit of ``size``."""

    __slots__ = ("_hashes", "size")

    def __init__(self, size: int, hashes: list[bytes]) -> None:
        self.size = size
        self._hashes = hashes

    @classmethod
    def empty(cls) -> Frontier:
        """A tree without leaves."""
        return cls(0, [])

    @classmethod
    def from_parts(cls, size: int, hashes: Sequence[bytes]) -> Frontier:
        """What ``to_parts`` gave. Raises Malformed when the hashes cannot be those of that size."""
        if not 0 <= size <= MAX_SIZE or len(hashes) != size.bit_count() or any(len(one) != HASH_BYTES for one in hashes):
            raise Malformed(f"{len(hashes)} hashes are no frontier of a tree of {size} leaves", size=size)
        return cls(size, list(hashes))

    @classmethod
    def of(cls, size: int, get_hash: GetHash) -> Frontier:
        """The frontier of a stored tree: one hash read for every set bit of ``size``."""
        hashes, start = [], 0
        for level in range(size.bit_length() - 1, -1, -1):
            if size >> level & 1:
                hashes.append(get_hash(level, start >> level))
                start += 1 << level
        return cls.from_parts(size, hashes)

    def to_parts(self) -> tuple[int, tuple[bytes, ...]]:
        """Size and hashes, to be kept."""
        return self.size, tuple(self._hashes)

    def copy(self) -> Frontier:
        """One that appends on its own: for a transaction that may yet fail."""
        return Frontier(self.size, list(self._hashes))

    def append(self, leaf: bytes) -> tuple[Node, ...]:
        """Add a leaf by its hash; the subtrees that are complete now and were not before, the leaf itself first."""
        if len(leaf) != HASH_BYTES or self.size >= MAX_SIZE:
            raise AssertionError("internal: a leaf hash has 32 bytes and a tree has an end")
        nodes = [(0, self.size, leaf)]
        index, top = self.size, leaf
        while index & 1:  # a left neighbour of the same height is there: the two are complete together
            index >>= 1
            top = node_hash(self._hashes.pop(), top)
            nodes.append((len(nodes), index, top))
        self._hashes.append(top)
        self.size += 1
        return tuple(nodes)

    def root(self) -> bytes:
        """The root over all leaves so far."""
        if not self._hashes:
            return EMPTY_ROOT
        root = self._hashes[-1]
        for left in reversed(self._hashes[:-1]):
            root = node_hash(left, root)
        return root


def root_from(size: int, get_hash: GetHash) -> bytes:
    """The root of the first ``size`` leaves."""
    return _subtree(0, size, get_hash) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, get_hash: GetHash) -> list[bytes]:
    """The hashes beside the way from that leaf to the root, RFC 6962 2.1.1. Raises ValueError for a leaf the tree does not have."""
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    proof: list[bytes] = []
    start, count = 0, size
    while count > 1:
        split = _split(count)
        if index < start + split:
            proof.append(_subtree(start + split, count - split, get_hash))
            count = split
        else:
            proof.append(_subtree(start, split, get_hash))
            start, count = start + split, count - split
    proof.reverse()
    return proof


def consistency_proof(first: int, second: int, get_hash: GetHash) -> list[bytes]:
    """What shows that the tree of ``first`` leaves is the beginning of that of ``second``, RFC 6962 2.1.2.

    Empty from nothing and for equal sizes. Raises ValueError unless 0 ≤ first ≤ second.
    """
    if not 0 <= first <= second:
        raise ValueError(f"a tree of {first} leaves is no beginning of one of {second}")
    if first in (0, second):
        return []
    proof: list[bytes] = []
    start, count, whole = 0, second, True  # whole: the old root itself is what remains, and the verifier has it
    old = first
    while old != count:
        split = _split(count)
        if old <= split:
            proof.append(_subtree(start + split, count - split, get_hash))
            count = split
        else:
            proof.append(_subtree(start, split, get_hash))
            start, count, old, whole = start + split, count - split, old - split, False
    if not whole:
        proof.append(_subtree(start, count, get_hash))
    proof.reverse()
    return proof


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """RFC 9162 2.1.3.2. Raises Unverified unless that leaf hash stands at that index under that root."""
    _check_proof(proof)
    if not 0 <= index < size <= MAX_SIZE:
        raise Unverified(f"no leaf {index} in a tree of {size}", check="inclusion")
    place, last, found = index, size - 1, leaf
    for sibling in proof:
        if not last:
            raise Unverified("an inclusion proof that is too long", check="inclusion")
        if place & 1 or place == last:
            found = node_hash(sibling, found)
            while not place & 1 and place:  # the last subtree had no right neighbour on these levels
                place >>= 1
                last >>= 1
        else:
            found = node_hash(found, sibling)
        place >>= 1
        last >>= 1
    if last or found != root:
        raise Unverified("the leaf is not under this root", check="inclusion", index=index, size=size)


def verify_consistency(first: int, first_root: bytes, second: int, second_root: bytes, proof: Sequence[bytes]) -> None:
    """RFC 9162 2.1.4.2. Raises Unverified unless the first tree is the beginning of the second."""
    _check_proof(proof)
    if not 0 <= first <= second <= MAX_SIZE:
        raise Unverified(f"a tree of {first} leaves is no beginning of one of {second}", check="consistency")
    if first in (0, second):
        expected = EMPTY_ROOT if first == 0 else second_root
        if proof or first_root != expected:
            raise Unverified("two roots of one tree", check="consistency")
        return
    hashes = list(proof)
    if first & (first - 1) == 0:
        hashes.insert(0, first_root)  # a complete tree is its own first subtree
    if not hashes:
        raise Unverified("a consistency proof that is too short", check="consistency")
    place, last = first - 1, second - 1
    while place & 1:
        place >>= 1
        last >>= 1
    old = new = hashes[0]
    for sibling in hashes[1:]:
        if not last:
            raise Unverified("a consistency proof that is too long", check="consistency")
        if place & 1 or place == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not place & 1 and place:
                place >>= 1
                last >>= 1
        else:
            new = node_hash(new, sibling)
        place >>= 1
        last >>= 1
    if last or old != first_root or new != second_root:
        raise Unverified("the first tree is not the beginning of the second", check="consistency", first=first, second=second)


def _check_proof(proof: Sequence[bytes]) -> None:
    if len(proof) > MAX_PROOF_HASHES or any(len(one) != HASH_BYTES for one in proof):
        raise Unverified("a proof with too many hashes, or of another length", check="proof")


def _split(count: int) -> int:
    """The largest power of two below ``count``."""
    return 1 << (count - 1).bit_length() - 1


def _subtree(start: int, count: int, get_hash: GetHash) -> bytes:
    """The root over ``count`` leaves from ``start``, which is a multiple of every power of two not above ``count``."""
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return get_hash(level, start >> level)
    split = _split(count)
    return node_hash(_subtree(start, split, get_hash), _subtree(start + split, count - split, get_hash))
