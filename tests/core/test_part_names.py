"""Names of parts as people may give them."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import BadInput
from gateway.core.manifest import check_part_name
from gateway.core.part_names import RESERVED, checked_part_name, part_names_reasons


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "通知.pdf",
        "a b.c.d",
        "文" * 80,
        "a" * 120,
        "signed.pdf",
        "console.pdf",
        "com10.txt",
        "auxiliary",
        "附件：一（续）.pdf",
        "关于《办法》的通知（定稿）.ofd",
    ],
)
def test_good_names(name):
    assert checked_part_name(name) == name


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("", "part/name-empty"),
        ("a" * 121, "part/name-long"),
        ("文" * 86, "part/name-long"),
        ("a/b", "part/name-path"),
        ("a\\b", "part/name-path"),
        ("..", "part/name-path"),
        (".", "part/name-path"),
        (".ready", "part/name-path"),
        ("a.", "part/name-path"),
        (" a", "part/name-path"),
        ("a ", "part/name-path"),
        ("a:b", "part/name-path"),
        ("a\nb", "part/name-characters"),
        ("a\x00b", "part/name-characters"),
        ("a\u202efdp.exe", "part/name-characters"),
        ("e\u0301.pdf", "part/name-characters"),
        ("a\ud800", "part/name-characters"),
        ("a\u200bb", "part/name-characters"),
        ("a\ufe0f", "part/name-characters"),
        ("a\u2060", "part/name-characters"),
        ("a\u00adb", "part/name-characters"),
        ("a\U000e0041", "part/name-characters"),
        ("a\u2215b", "part/name-path"),
        ("a\uff0fb", "part/name-path"),
        ("a\uff3cb", "part/name-path"),
        ("a\u3000", "part/name-path"),
        ("\u00a0a", "part/name-path"),
        ("CON", "part/name-reserved"),
        ("aux.pdf", "part/name-reserved"),
        ("Lpt1.tar.gz", "part/name-reserved"),
        ("com\u00b2.txt", "part/name-reserved"),
        ("NUL .pdf", "part/name-reserved"),
        ("manifest.json", "part/name-reserved"),
        ("Document.JSON", "part/name-reserved"),
        ("status.json", "part/name-reserved"),
        ("SIGNED", "part/name-reserved"),
        ("Returned", "part/name-reserved"),
    ],
)
def test_bad_names(name, rule):
    with pytest.raises(BadInput) as caught:
        checked_part_name(name)
    assert [reason.rule for reason in caught.value.reasons] == [rule]


def test_names_differ_in_more_than_case():
    rules = [(reason.rule, reason.at) for reason in part_names_reasons(["A.pdf", "b.pdf", "a.PDF", "b.pdf"])]
    assert rules == [("part/name-twice", "a.PDF"), ("part/name-twice", "b.pdf")]


@given(st.text(max_size=130))
def test_what_people_may_give_the_format_allows(name):
    with suppress(BadInput):
        assert check_part_name(checked_part_name(name)) == name


def test_markers_of_the_office_are_reserved():
    assert {"signed", "returned", "document.json", "status.json", "manifest.json"} <= RESERVED
