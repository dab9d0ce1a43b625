"""Permission as a value: nobody but decide() makes a Clearance, and it covers nothing else."""

import copy
import pickle
from dataclasses import FrozenInstanceError, asdict, fields, replace
from datetime import timedelta

import pytest

from gateway.core.policy import Clearance, ClearanceVoid, decide
from tests.core.policy.worlds import AT, BUREAU, COMPANY, POLICY, party, question

CLEARED = decide(POLICY, question(recipients=(party(BUREAU), party(COMPANY))))
COVERED = {
    "policy_digest": POLICY.digest,
    "directory_version": 7,
    "at": AT,
    "metadata_digest": "sha256:m",
    "recipients": (BUREAU, COMPANY),
}


def test_it_covers_what_was_decided():
    CLEARED.check(**COVERED)
    CLEARED.check(**COVERED | {"at": CLEARED.ends})
    CLEARED.check(**COVERED | {"recipients": [COMPANY]})


@pytest.mark.parametrize(
    ("change", "subject"),
    [
        ({"policy_digest": "sha256:other"}, "policy"),
        ({"directory_version": 8}, "directory"),
        ({"directory_version": 6}, "directory"),
        ({"at": CLEARED.ends + timedelta(microseconds=1)}, "time"),
        ({"metadata_digest": "sha256:n"}, "metadata"),
        ({"recipients": (BUREAU, "11440100007482003P")}, "recipients"),
        ({"recipients": ()}, "recipients"),
    ],
)
def test_it_covers_nothing_else(change, subject):
    with pytest.raises(ClearanceVoid) as caught:
        CLEARED.check(**COVERED | change)
    assert caught.value.subject == subject


def test_nobody_else_makes_one():
    facts = {field.name: getattr(CLEARED, field.name) for field in fields(CLEARED)}
    with pytest.raises(TypeError, match="only decide"):
        Clearance(**facts, decided=object())
    with pytest.raises(TypeError):
        Clearance(**facts)


def test_nobody_changes_one():
    with pytest.raises(FrozenInstanceError):
        CLEARED.level = "public"
    with pytest.raises((TypeError, ValueError)):
        replace(CLEARED, level="public")


def test_the_right_to_make_one_is_not_inside_one():
    assert "decided" not in asdict(CLEARED)
    assert "decided" not in repr(CLEARED)
    assert copy.copy(CLEARED) == CLEARED
    assert b"_DECIDED" not in pickle.dumps(CLEARED)
