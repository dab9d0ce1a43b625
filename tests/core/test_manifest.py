"""The manifest's own rules, and its equalities with the transmittal."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.errors import Malformed, Unverified
from gateway.core.manifest import MAX_PARTS, Manifest, ManifestSender, PartEntry, check_part_name
from tests.core.samples import FINANCE, OTHER_EXCHANGE, manifest, notice, part, some_digest, transmittal

BODY = part()
EXTRA = part(name="附件1.xlsx", role="attachment", media_type="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")


def test_it_reads_back() -> None:
    value = manifest([BODY, EXTRA])
    assert Manifest.from_bytes(value.to_bytes()) == value


@pytest.mark.parametrize(
    "changes",
    [
        {"parts": ()},
        {"parts": (EXTRA,)},
        {"parts": (BODY, part(name="二.ofd"))},
        {"parts": (BODY, part(name="正文.OFD", role="attachment"))},
        {"parts": (BODY, part(name="b.ofd", role="attachment", level="work-secret"))},
        {"parts": (BODY, *(part(name=f"{number}", role="attachment") for number in range(MAX_PARTS)))},
        {"nonce": "AAECAwQFBgcICQoLDA0ODx=="},
        {"nonce": "AAECAwQFBgcICQoLDA0ODw="},
        {"nonce": "AAECAwQFBgcICQoLDA0O"},
        {"v": "yizhan-manifest/0"},
    ],
)
def test_it_refuses(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        manifest(**({"parts": (BODY,)} | changes)).to_bytes()


@pytest.mark.parametrize(
    "changes", [{"size": -1}, {"size": 68_719_476_705}, {"media_type": "pdf"}, {"media_type": "Application/PDF"}, {"role": "seal"}]
)
def test_an_entry_refuses(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        part(**changes).to_bytes()


NAMES_GOOD = ["正文.ofd", "a", "通知 第1号.pdf", "x" * 120, "文" * 85, ".".join("ab"), "é.pdf", "manifest.json.txt", "〔2026〕1号.ofd"]
NAMES_BAD = [
    "",
    "x" * 121,
    "文" * 86,  # 258 bytes
    "../a",
    "a/b",
    "a\\b",
    "..",
    ".",
    ".hidden",
    "a.",
    "a ",
    " a",
    "a:b",
    "a*b",
    'a"b',
    "a|b",
    "a\0b",
    "a\nb",
    "a\u202egpj.exe",
    "e\u0301.pdf",
    "manifest.json",
    "MANIFEST.JSON",
]


@pytest.mark.parametrize("name", NAMES_GOOD)
def test_good_names(name: str) -> None:
    assert check_part_name(name) == name


@pytest.mark.parametrize("name", NAMES_BAD)
def test_bad_names(name: str) -> None:
    with pytest.raises(Malformed):
        check_part_name(name)
    with pytest.raises(Malformed):
        part(name=name).to_bytes()


@given(st.text(max_size=130))
def test_a_good_name_is_one_component(name: str) -> None:
    try:
        check_part_name(name)
    except (Malformed, UnicodeEncodeError):
        return
    assert "/" not in name
    assert name not in (".", "..")
    assert len(name.encode()) <= 255


def test_it_belongs_to_its_transmittal() -> None:
    manifest([BODY]).check_against(transmittal())


@pytest.mark.parametrize(
    ("value", "cover", "check"),
    [
        (manifest([BODY], exchange=OTHER_EXCHANGE), transmittal(), "manifest-exchange"),
        (manifest([BODY], sender=ManifestSender(org=FINANCE)), transmittal(), "manifest-sender"),
        (manifest([BODY], level="work-secret"), transmittal(), "manifest-level"),
        (manifest([BODY], urgency="flash"), transmittal(), "manifest-urgency"),
        (manifest([BODY]), transmittal(suite="gm-1"), "part-digest-suite"),
    ],
)
def test_each_equality(value: Manifest, cover: Any, check: str) -> None:
    with pytest.raises(Unverified) as caught:
        value.check_against(cover)
    assert caught.value.check == check


def test_a_supplement_carries_the_manifest_of_its_first_reference() -> None:
    good = transmittal()
    third = good.recipients[0].__class__(org="11310000MB0009999X", role="copy", envelope=some_digest("third"))
    supplement = notice("supplement", content=good.content, recipients=(third,))
    manifest([BODY]).check_against(supplement)
    with pytest.raises(Unverified):
        manifest([BODY], exchange=supplement.id).check_against(supplement)


def test_the_parts_of_an_entry_are_all_needed() -> None:
    assert PartEntry.from_bytes(BODY.to_bytes()) == BODY
