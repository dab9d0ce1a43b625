from __future__ import annotations

import re
import string

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.digests import digest
from crypto.errors import Malformed
from gateway.core import canonical
from gateway.core.leaf import Actor, Leaf, LeafKind
from gateway.core.transmittal import DirectoryRef, PolicyRef
from gateway.store import spelling
from gateway.store.spelling import spell
from tests.store.world import FINANCE, OFFICE, new_id

FULL = Leaf(
    actor=Actor(auth="self", id="gw-office", role="gateway"),
    at="2026-03-02T08:00:00.500Z",
    directory=DirectoryRef(version=3, digest=digest("sha256", b"directory")),
    dst="gw-finance",
    exchange=new_id(),
    kind=LeafKind.SIGNED_FOR,
    level="work-secret",
    object=digest("sm3", b"object"),
    outcome="signed-for",
    policy=PolicyRef(id="pilot/city", version=1, digest=digest("sm3", b"policy")),
    reason="peer.away",
    recipient=FINANCE,
    size=10_240,
    src=OFFICE,
)
OPTIONAL = ["directory", "dst", "exchange", "level", "object", "policy", "reason", "recipient", "size", "src"]
# What stands in no word, no name and no spelling of a number; and what does.
TEXTS = st.text(st.sampled_from(string.ascii_letters + string.digits + ' .-_@:/\\"\n\x00\x7f{},密\u200f\ud800'), max_size=70)


@pytest.fixture
def quick_only(monkeypatch):
    """The long way is an error."""

    def long_way(self: Leaf) -> bytes:
        raise AssertionError("the long way")

    monkeypatch.setattr(Leaf, "to_bytes", long_way)


@pytest.mark.parametrize(
    "changes", [*({"kind": kind} for kind in LeafKind), *({name: None} for name in OPTIONAL), dict.fromkeys(OPTIONAL), {"size": 0}]
)
def test_every_ordinary_leaf_is_spelled_the_quick_way(changes, quick_only):
    leaf = msgspec.structs.replace(FULL, **changes)
    assert Leaf.from_bytes(spell(leaf)) == leaf


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "actor": st.builds(Actor, auth=TEXTS, id=TEXTS, role=TEXTS),
            "policy": st.builds(PolicyRef, id=TEXTS, version=st.integers(-2, 2**55), digest=TEXTS),
            "size": st.one_of(st.integers(-(2**60), 2**60), st.floats(), st.booleans()),
            **dict.fromkeys(("dst", "exchange", "level", "object", "outcome", "reason", "recipient", "src", "kind", "v"), TEXTS),
        },
    )
)
def test_whatever_is_spelled_is_what_a_reader_takes(changes):
    leaf = msgspec.structs.replace(FULL, **changes)
    try:
        expected = leaf.to_bytes()
    except Malformed:
        with pytest.raises(Malformed):
            spell(leaf)
    else:
        assert spell(leaf) == expected


@pytest.mark.parametrize("size", [0, 9, 10**15 - 1, 10**15, canonical.MAX_INTEGER])
def test_numbers_up_to_the_ceiling_are_spelled(size):
    leaf = msgspec.structs.replace(FULL, size=size)
    assert spell(leaf) == leaf.to_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"size": canonical.MAX_INTEGER + 1},
        {"size": -1},
        {"outcome": "x" * 5000},
        {"outcome": "Sealed"},
        {"reason": "two words"},
        {"reason": 'a"'},
        {"reason": "a\n"},
        {"dst": "门"},
        {"object": "sha256:" + "0" * 63},
        {"exchange": "a"},
        {"kind": "burnt"},
        {"v": "yizhan-leaf/2"},
    ],
)
def test_what_a_reader_would_refuse_is_not_spelled(changes):
    with pytest.raises(Malformed):
        spell(msgspec.structs.replace(FULL, **changes))


def test_every_pattern_is_closed_so_that_nothing_can_stand_beside_it():
    """The grammar strips the anchors of a pattern: an alternative at its top, or a dot, would let other bytes in."""
    grammar = spelling._grammar(msgspec.inspect.type_info(Leaf))
    outside_classes = re.sub(r"\[[^\]]*\]|\\.", "", grammar)
    assert "." not in outside_classes
    assert "|" not in re.sub(r"\([^()]*\)", "", re.sub(r"\([^()]*\)", "", re.sub(r"\([^()]*\)", "", outside_classes)))
    assert "[^" not in grammar
