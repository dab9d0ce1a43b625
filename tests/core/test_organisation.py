"""Codes of organisations and their check characters."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.organisation import BadOrganisationCode, check_character, check_code, check_old_code

VECTORS = Path(__file__).resolve().parents[2].parent / "shared" / "vectors" / "gm.json"
ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
GOOD = "91350100M000100Y43"  # GB 32100-2015


def test_the_published_vector():
    if not VECTORS.exists():
        pytest.skip("shared vectors are not here")
    vector = json.loads(VECTORS.read_text("utf-8"))["organisation_code"]
    assert vector["alphabet"] == ALPHABET
    assert check_code(vector["valid"]) == vector["valid"]


def test_the_code_of_the_standard_holds():
    assert check_code(GOOD) == GOOD
    assert check_character(GOOD[:17]) == GOOD[17]


@given(st.text(ALPHABET, min_size=17, max_size=17))
def test_the_check_character_completes_a_code(first17):
    assert check_code(first17 + check_character(first17))


@given(st.integers(0, 17), st.sampled_from(ALPHABET))
def test_one_wrong_character_is_always_noticed(position, character):
    wrong = GOOD[:position] + character + GOOD[position + 1 :]
    if wrong == GOOD:
        assert check_code(wrong)
    else:
        with pytest.raises(BadOrganisationCode):
            check_code(wrong)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("", "length"),
        (GOOD[:17], "length"),
        (GOOD + "3", "length"),
        (GOOD[:17] + "Z", "characters"),
        ("O" + GOOD[1:], "characters"),
        (GOOD.lower(), "characters"),
        ("９" + GOOD[1:], "characters"),
        (GOOD[:17] + "4", "check"),
    ],
)
def test_other_texts_are_refused_and_named(code, problem):
    with pytest.raises(BadOrganisationCode) as caught:
        check_code(code)
    assert caught.value.problem == problem
    assert caught.value.org == code[:40]


def test_a_check_character_belongs_to_seventeen():
    with pytest.raises(BadOrganisationCode):
        check_character("123")


@given(st.text(max_size=40))
def test_any_text_is_a_code_or_refused(text):
    with suppress(BadOrganisationCode):
        assert check_code(text) == text


@pytest.mark.parametrize("code", ["D2143569X", "000000000", "000000019"])
def test_old_codes(code):
    """GB 11714: D2143569X is the standard's own example; the check digits 0 (for 11) and 9."""
    expected = {"D2143569X": True, "000000000": True, "000000019": True}[code]
    assert (check_old_code(code) == code) is expected


@pytest.mark.parametrize("code", ["", "D21435691", "D2143569", "D2143569XX", "d2143569X"])
def test_wrong_old_codes_are_refused(code):
    with pytest.raises(BadOrganisationCode):
        check_old_code(code)
