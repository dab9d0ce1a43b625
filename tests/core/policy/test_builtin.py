"""The rules no file can switch off."""

import pytest

from gateway.core.levels import CONFIDENTIAL, INTERNAL, LEVELS, SECRET, TOP_SECRET
from gateway.core.policy.builtin import level_missing, part_above_document, state_secret_commercial
from tests.core.policy.worlds import POLICY

COMMERCIAL, CLASSIFIED = POLICY.zones["outer"], POLICY.zones["inner"]


@pytest.mark.parametrize("level", LEVELS.values(), ids=lambda level: level.id)
def test_state_secrets_and_commercial_zones_do_not_meet(level):
    reasons = list(state_secret_commercial([level], [COMMERCIAL]))
    assert [reason.rule for reason in reasons] == ["builtin/state-secret-commercial"] * level.state_secret
    assert list(state_secret_commercial([level], [CLASSIFIED])) == []


def test_the_highest_is_named_once_a_zone():
    reasons = list(state_secret_commercial([SECRET, INTERNAL, TOP_SECRET, CONFIDENTIAL], [COMMERCIAL, CLASSIFIED]))
    assert len(reasons) == 1
    assert "绝密" in reasons[0].zh
    assert "政务外网" in reasons[0].zh


def test_the_others_say_what_mends_them():
    assert level_missing().fix
    reason = part_above_document("附件.pdf", SECRET, INTERNAL)
    assert reason.at == "附件.pdf"
    assert "secret" in reason.fix
