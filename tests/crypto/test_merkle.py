"""The tree against the plainest reading of RFC 6962 2.1, written anew here, and against the published test vectors."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.errors import Malformed, Unverified
from crypto.merkle import (
    EMPTY_ROOT,
    MAX_SIZE,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_from,
    verify_consistency,
    verify_inclusion,
)

# The leaves and roots every Certificate Transparency implementation tests with.
KNOWN_LEAVES = [
    bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
KNOWN_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 2.1, by its words."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_path(m: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962 2.1.1, by its words."""
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m < k:
        return [*naive_path(m, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(m - k, leaves[k:]), naive_root(leaves[:k])]


def naive_subproof(m: int, leaves: list[bytes], *, whole: bool) -> list[bytes]:
    """SUBPROOF of RFC 6962 2.1.2, by its words."""
    if m == len(leaves):
        return [] if whole else [naive_root(leaves)]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if m <= k:
        return [*naive_subproof(m, leaves[:k], whole=whole), naive_root(leaves[k:])]
    return [*naive_subproof(m - k, leaves[k:], whole=False), naive_root(leaves[:k])]


class Tree:
    """A store as the log keeps one: whatever ``append`` said was completed."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.leaves = leaves
        self.nodes: dict[tuple[int, int], bytes] = {}
        self.frontier = Frontier.empty()
        for leaf in leaves:
            for level, index, value in self.frontier.append(leaf_hash(leaf)):
                assert (level, index) not in self.nodes
                self.nodes[level, index] = value

    def get(self, level: int, index: int) -> bytes:
        return self.nodes[level, index]


def leaves_of(count: int) -> list[bytes]:
    return [b"leaf %d" % number for number in range(count)]


MOST = 70
TREE = Tree(leaves_of(MOST))
ROOTS = [naive_root(TREE.leaves[:size]) for size in range(MOST + 1)]


def test_known_roots() -> None:
    frontier = Frontier.empty()
    assert frontier.root() == EMPTY_ROOT == hashlib.sha256().digest()
    for leaf, root in zip(KNOWN_LEAVES, KNOWN_ROOTS, strict=True):
        frontier.append(leaf_hash(leaf))
        assert frontier.root().hex() == root
    assert naive_root(KNOWN_LEAVES).hex() == KNOWN_ROOTS[-1]


def test_roots_of_every_size() -> None:
    frontier = Frontier.empty()
    for size in range(MOST + 1):
        assert frontier.root() == ROOTS[size] == root_from(size, TREE.get)
        assert Frontier.of(size, TREE.get).to_parts() == frontier.to_parts()
        if size < MOST:
            frontier.append(leaf_hash(TREE.leaves[size]))


def test_every_inclusion_proof() -> None:
    for size in range(1, MOST + 1):
        for index in range(size):
            proof = inclusion_proof(index, size, TREE.get)
            assert proof == naive_path(index, TREE.leaves[:size])
            verify_inclusion(leaf_hash(TREE.leaves[index]), index, size, proof, ROOTS[size])


def test_every_consistency_proof() -> None:
    for second in range(MOST + 1):
        for first in range(second + 1):
            proof = consistency_proof(first, second, TREE.get)
            if first:
                assert proof == naive_subproof(first, TREE.leaves[:second], whole=True)
            verify_consistency(first, ROOTS[first], second, ROOTS[second], proof)


def test_a_leaf_proves_nothing_of_another_place_size_or_tree() -> None:
    for size in (1, 2, 7, 8, 33):
        for index in range(size):
            leaf, proof = leaf_hash(TREE.leaves[index]), inclusion_proof(index, size, TREE.get)
            other = bytes(32)
            wrong = [
                (leaf_hash(b"other"), index, size, proof, ROOTS[size]),
                (leaf, index, size, proof, other),
                (leaf, index, size, [*proof, other], ROOTS[size]),
                (leaf, size, size, proof, ROOTS[size]),
                (leaf, -1, size, proof, ROOTS[size]),
                (leaf, index, MAX_SIZE + 1, proof, ROOTS[size]),
                (leaf, index, size, [other[:31]], ROOTS[size]),
                (leaf, index, size, [other] * 107, ROOTS[size]),
            ]
            if proof:
                wrong.append((leaf, index, size, proof[:-1], ROOTS[size]))
                wrong.append((leaf, index, size, [*proof[:-1], other], ROOTS[size]))
            wrong += [(leaf, place, size, proof, ROOTS[size]) for place in range(size) if place != index]
            for arguments in wrong:
                with pytest.raises(Unverified):
                    verify_inclusion(*arguments)


def test_a_rewritten_past_is_found() -> None:
    for first, second in ((1, 2), (3, 7), (4, 8), (6, 8), (7, 7), (32, 33), (0, 5)):
        proof = consistency_proof(first, second, TREE.get)
        other = bytes(32)
        wrong = [
            (first, other, second, ROOTS[second], proof),
            (first, ROOTS[first], second, ROOTS[second], [*proof, other]),
            (second, ROOTS[second], first, ROOTS[first], proof) if first != second else (2, ROOTS[2], 1, ROOTS[1], []),
        ]
        if proof:
            wrong += [
                (first, ROOTS[first], second, other, proof),
                (first, ROOTS[first], second, ROOTS[second], proof[:-1]),
                (first, ROOTS[first], second, ROOTS[second], []),
                (first, ROOTS[first], second, ROOTS[second], [other, *proof[1:]]),
                (first, ROOTS[first], second, ROOTS[second], [*proof[:-1], other]),
            ]
        for arguments in wrong:
            with pytest.raises(Unverified):
                verify_consistency(*arguments)


@settings(deadline=None, max_examples=25)
@given(st.integers(71, 2000), st.randoms(use_true_random=False))
def test_larger_trees(size: int, chance: random.Random) -> None:
    tree = Tree(leaves_of(size))
    root = tree.frontier.root()
    assert root == naive_root(tree.leaves)
    for _ in range(5):
        index, first = chance.randrange(size), chance.randrange(1, size + 1)
        verify_inclusion(leaf_hash(tree.leaves[index]), index, size, inclusion_proof(index, size, tree.get), root)
        verify_consistency(first, root_from(first, tree.get), size, root, consistency_proof(first, size, tree.get))


@given(st.integers(0, 80), st.integers(0, 80), st.lists(st.binary(min_size=32, max_size=32), max_size=8))
def test_no_made_up_proof_holds(index: int, size: int, proof: list[bytes]) -> None:
    root = ROOTS[min(size, MOST)]
    with pytest.raises(Unverified):
        verify_inclusion(bytes(32), index, size, proof, root)


def test_the_frontier_is_kept_and_restored() -> None:
    frontier = Frontier.empty()
    for leaf in TREE.leaves[:37]:
        frontier.append(leaf_hash(leaf))
    restored = Frontier.from_parts(*frontier.to_parts())
    twin = restored.copy()
    twin.append(leaf_hash(b"undone"))
    for leaf in TREE.leaves[37:]:
        restored.append(leaf_hash(leaf))
    assert restored.root() == ROOTS[MOST]
    assert twin.size == 38
    assert frontier.root() == ROOTS[37]


@pytest.mark.parametrize(
    ("size", "hashes"), [(1, []), (0, [bytes(32)]), (2, [bytes(31)]), (-1, []), (3, [bytes(32)] * 3), (MAX_SIZE + 1, [bytes(32)])]
)
def test_parts_that_are_no_frontier(size: int, hashes: list[bytes]) -> None:
    with pytest.raises(Malformed):
        Frontier.from_parts(size, hashes)


def test_append_touches_only_what_is_complete() -> None:
    frontier = Frontier.empty()
    completed = [len(frontier.append(leaf_hash(b""))) for _ in range(16)]
    assert completed == [1, 2, 1, 3, 1, 2, 1, 4, 1, 2, 1, 3, 1, 2, 1, 5]
    with pytest.raises(AssertionError):
        frontier.append(b"short")


def test_what_a_tree_does_not_have() -> None:
    for index, size in ((0, 0), (5, 5), (-1, 5)):
        with pytest.raises(ValueError, match="no leaf"):
            inclusion_proof(index, size, TREE.get)
    with pytest.raises(ValueError, match="no beginning"):
        consistency_proof(6, 5, TREE.get)
