"""Document numbers 发文字号: the published vectors, and what a wrong one was meant to be."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.document_number import (
    is_document_number,
    is_minutes_number,
    is_order_number,
    is_usual_number,
    number_year,
    suggested_number,
)

VECTORS = Path(__file__).resolve().parents[2].parent / "shared" / "vectors" / "gm.json"


def test_the_published_vectors():
    if not VECTORS.exists():
        pytest.skip("shared vectors are not here")
    vectors = json.loads(VECTORS.read_text("utf-8"))["document_number"]
    assert vectors["valid"]
    for text in vectors["valid"]:
        assert is_usual_number(text), text
    assert vectors["invalid"]
    for text in vectors["invalid"]:
        assert not is_document_number(text), text
        assert suggested_number(text, 2026) == "国办发〔2012〕1号"


@pytest.mark.parametrize("text", ["国办发〔2012〕1号", "财预〔2026〕103号", "国办发明电（特急）〔1999〕99999号", "A市·发〔2020〕1号"])
def test_usual_numbers(text):
    assert is_usual_number(text)
    assert is_document_number(text)


@pytest.mark.parametrize("text", ["第5号", "国务院令第742号"])
def test_numbers_of_orders(text):
    assert is_order_number(text)
    assert is_document_number(text)


@pytest.mark.parametrize("text", ["第12期", "市长办公会议纪要第3期"])
def test_numbers_of_minutes(text):
    assert is_minutes_number(text)
    assert is_document_number(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "〔2012〕1号",
        "国办发〔2012〕0号",
        "国办发〔2012〕100000号",
        "国办发〔1812〕1号",
        "国办发〔2012〕1",
        "国办发〔2012〕1号 ",
        "国办发〔２０１２〕1号",
        "国" * 31 + "〔2012〕1号",
        "第0号",
        "第01期",
    ],
)
def test_other_texts_are_no_number(text):
    assert not is_document_number(text)


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("国办发[2012]1号", "国办发〔2012〕1号"),
        ("国办发(2012)1号", "国办发〔2012〕1号"),
        ("国办发（2012）1号", "国办发〔2012〕1号"),
        ("国办发【2012】1号", "国办发〔2012〕1号"),
        ("国办发［2012］1号", "国办发〔2012〕1号"),
        ("国办发〔2012〕01号", "国办发〔2012〕1号"),
        ("国办发〔2012〕第1号", "国办发〔2012〕1号"),
        ("国办发〔2012〕第001", "国办发〔2012〕1号"),
        ("国办发〔12〕1号", "国办发〔2012〕1号"),
        ("国办发〔98〕1号", "国办发〔1998〕1号"),
        ("国办发〔2012年〕1号", "国办发〔2012〕1号"),
        ("国办发 [ 2012 ] 第 01 号", "国办发〔2012〕1号"),
        ("国办发〔２０１２〕１号", "国办发〔2012〕1号"),
        ("国办发（电）[2012]7号", "国办发（电）〔2012〕7号"),
        ("第05号", "第5号"),
        ("国务院令742号", "国务院令第742号"),
        ("第012期", "第12期"),
    ],
)
def test_what_a_wrong_number_was_meant_to_be(wrong, meant):
    assert not is_document_number(wrong)
    assert suggested_number(wrong, 2026) == meant


@pytest.mark.parametrize("wrong", ["", "一号文件", "国办发〔2012〕", "1", "国办发〔2012〕零号", "x" * 10_000, "国办发[2012]0号"])
def test_nothing_is_suggested_where_nothing_is_clear(wrong):
    assert suggested_number(wrong, 2026) == ""


@pytest.mark.parametrize(("written", "full"), [(2026, "2027"), (2027, "2027"), (2025, "1927"), (1999, "1927")])
def test_a_two_digit_year_is_of_the_century_it_can_be_of(written, full):
    assert suggested_number("国办发〔27〕1号", written) == f"国办发〔{full}〕1号"


def test_the_year_a_number_bears():
    assert number_year("国办发〔2012〕1号") == 2012
    assert number_year("第5号") is None


@given(st.text("国办发〔〕[]()第0123456789号期令 ", max_size=30))
def test_a_suggestion_is_always_a_number(text):
    suggestion = suggested_number(text, 2026)
    assert suggestion == "" or is_document_number(suggestion)
