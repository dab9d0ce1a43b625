"""docs/format.md names what the code knows: lists and ceilings that would otherwise drift."""

from __future__ import annotations

from pathlib import Path

from crypto.notes import MAX_NOTE_BYTES, MAX_SIGNATURES
from gateway.core import cover, directory, leaf, manifest, receipt, transmittal
from gateway.core.canonical import MAX_WIRE_BYTES
from gateway.core.document import Document

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "format.md").read_text(encoding="utf-8")


def test_kinds_of_leaves() -> None:
    line = next(line for line in TEXT.splitlines() if line.startswith("Kinds: "))
    assert line == "Kinds: " + " ".join(f"`{kind}`" for kind in leaf.LeafKind) + "."


def test_every_event_and_every_element_of_a_document_is_named() -> None:
    for event in receipt.EVENTS:
        assert f"`{event}`" in TEXT
    for name in Document.__struct_encode_fields__:
        assert f"`{name}" in TEXT, name


def test_ceilings() -> None:
    for name, ceiling in {
        "At most 256 KiB": MAX_WIRE_BYTES,
        "At most 1 MiB": manifest.MAX_MANIFEST_BYTES,
        "At most 8 KiB": receipt.MAX_RECEIPT_BYTES,
        "At most 4 KiB": leaf.MAX_LEAF_BYTES,
        "at most 4 MiB": directory.MAX_HEAD_BYTES,
        "at most 64 KiB": directory.MAX_ENTRY_BYTES,
        "at most 128 KiB": MAX_NOTE_BYTES,
    }.items():
        number, unit = name.split()[2:]
        assert ceiling == int(number) * {"KiB": 1024, "MiB": 1024 * 1024}[unit]
        assert name in TEXT
    assert f"{transmittal.MAX_CONTENT_BYTES:,}" in TEXT
    assert f"at most {transmittal.MAX_RECIPIENTS:,}, sorted by org" in TEXT
    assert f"at most {cover.MAX_NRO // 1024} KiB" in TEXT
    assert f"at most {cover.MAX_ENVELOPE // 1024} KiB" in TEXT
    assert f"at most {directory.MAX_ENTRIES:,}" in TEXT
    assert f"1 to {MAX_SIGNATURES} signature lines" in TEXT
