"""A leaf is small, closed, and holds no free text."""

from __future__ import annotations

from typing import Any

import pytest

from crypto.errors import Malformed
from gateway.core.leaf import MAX_LEAF_BYTES, Actor, Leaf, LeafKind
from tests.core.samples import EXCHANGE, FINANCE, leaf, some_digest, transmittal


def test_fields_that_do_not_apply_are_left_out() -> None:
    data = leaf().to_bytes()
    assert b"null" not in data
    assert Leaf.from_bytes(data) == leaf()
    with pytest.raises(Malformed):
        Leaf.from_bytes(data.replace(b'"kind"', b'"exchange":null,"kind"'))


def test_a_full_leaf_is_far_below_its_ceiling() -> None:
    cover = transmittal()
    full = leaf(
        exchange=EXCHANGE,
        recipient=FINANCE,
        object=some_digest("transmittal"),
        size=2**53 - 1,
        level="work-secret",
        src="gw-office",
        dst="gw-finance",
        policy=cover.policy,
        directory=cover.directory,
        reason="policy.level",
    )
    assert len(full.to_bytes()) < MAX_LEAF_BYTES // 2
    assert Leaf.from_bytes(full.to_bytes()) == full
    assert full.moment.year == 2026


@pytest.mark.parametrize("kind", LeafKind)
def test_every_kind_is_written_and_read(kind: LeafKind) -> None:
    assert Leaf.from_bytes(leaf(kind=kind).to_bytes()).kind is kind


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "gossip"},
        {"at": "2026-03-02"},
        {"outcome": "It went well."},
        {"reason": "请查收"},
        {"actor": Actor(id="张三", role="clerk", auth="password")},
        {"object": "md5:00"},
        {"size": -1},
        {"since": "yesterday"},
        {"until": "2026-03-02T09:00:00.000Z"},
        {"v": "yizhan-leaf/2"},
    ],
)
def test_it_refuses(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        leaf(**changes).to_bytes()


def test_more_than_the_ceiling_is_refused() -> None:
    with pytest.raises(Malformed):
        Leaf.from_bytes(b" " * (MAX_LEAF_BYTES + 1))
