"""docs/limits.md says what the code does: every ceiling is in it, with the value in force and a reason."""

from __future__ import annotations

from tests.limits_table import DOCUMENT, ceilings, document, shown


def test_the_table_is_the_code():
    assert DOCUMENT.read_text() == document(), "run: python -m tests.limits_table"


def test_every_ceiling_has_its_reason_beside_it():
    assert [f"{each.where}: {each.name}" for each in ceilings() if len(each.reason) < 8] == []


def test_the_walk_sees_the_code():
    names = {each.name for each in ceilings()}
    assert {"MAX_RECIPIENTS", "MAX_COVER", "ListenLimits.connections", "PeerRates.failures", "DoorLimits.of_address", "BACKLOG"} <= names
    assert len(names) > 60
    assert (shown(3 * 1024 * 1024), shown(65536), shown(0.5)) == ("3 MiB", "65,536", "0.5")
