"""Documents cross between real processes and real folders, for both suites, and come back signed for or returned."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from tests.system.town import FINANCE, OFFICE, read

pytestmark = pytest.mark.system

SAMPLES = Path(__file__).resolve().parents[2].parent / "shared" / "samples"


def arrived(town, name):
    """The delivered folder of what was sent under that name."""
    town.wait(lambda: town.office.states(name) == ["DELIVERED"], f"{name} delivered")
    return town.finance.inbox()[town.office.statuses()[name]["exchange"]]


def test_there_and_signed_for(town):
    files = {"正文.pdf": os.urandom(20_000), "附件一.xml": b"<a/>"}
    town.office.send("notice", [FINANCE.code], files, number="试办函〔2026〕5号", urgency="加急")
    folder = arrived(town, "notice")
    assert {file: (folder / file).read_bytes() for file in files} == files
    document = read(folder / "document.json")
    assert (document["sender"]["org"], document["sender"]["name"]) == (OFFICE.code, "市政府办公室")
    assert document["document"]["documentNumber"] == "试办函〔2026〕5号"
    town.finance.sign_for(folder.name)
    town.wait(lambda: town.office.states("notice") == ["SIGNED_FOR"], "signed for")
    (recipient,) = town.office.statuses()["notice"]["recipients"]
    assert [event["event"] for event in recipient["events"]] == ["ContentConsignment", "ContentHandover", "SignedFor"]
    assert {event["by"] for event in recipient["events"]} == {FINANCE.code}
    town.wait((folder / "SIGNED.done").exists, "the marker acknowledged")


def test_there_and_returned(town):
    town.office.send("return", [FINANCE.code], {"正文.pdf": b"%PDF-1.7 wrong"})
    folder = arrived(town, "return")
    town.finance.send_back(folder.name, "附件缺失，请补全后重发")
    town.wait(lambda: town.office.states("return") == ["RETURNED"], "returned")
    assert "附件缺失".encode() not in (town.office.root / "sent" / folder.name / "status.json").read_bytes()


def test_an_answer_the_other_way(town):
    town.finance.send("answer", [OFFICE.code], {"复函.pdf": b"%PDF-1.7 answer"})
    town.wait(lambda: town.finance.states("answer") == ["DELIVERED"], "the answer delivered")
    exchange = town.finance.statuses()["answer"]["exchange"]
    assert (town.office.inbox()[exchange] / "复函.pdf").read_bytes() == b"%PDF-1.7 answer"


def test_a_large_attachment_is_uploaded_and_byte_identical(town):
    content = os.urandom(1_000_000) * 9 + b"end"
    town.office.send("large", [FINANCE.code], {"正文.pdf": b"%PDF-1.7", "数据.zip": content})
    folder = arrived(town, "large")
    assert hashlib.sha256((folder / "数据.zip").read_bytes()).digest() == hashlib.sha256(content).digest()


def test_the_sample_ofd_files_pass_byte_identical(town):
    samples = {path.name: path.read_bytes() for path in sorted(SAMPLES.glob("*.ofd"))} if SAMPLES.is_dir() else {}
    if not samples:
        pytest.skip("the shared samples are not here")
    for name, content in samples.items():
        town.office.send(name, [FINANCE.code], {name: content})
    for name, content in samples.items():
        folder = arrived(town, name)
        assert (folder / name).read_bytes() == content
        (file,) = read(folder / "document.json")["files"]
        assert file["media_type"] == "application/ofd"


def test_the_same_folder_again_is_no_second_document(town):
    files = {"正文.pdf": b"%PDF-1.7 once"}
    town.office.send("once", [FINANCE.code], files)
    arrived(town, "once")
    before = len(town.finance.inbox())
    town.office.send("once", [FINANCE.code], files)
    town.wait(lambda: town.office.refused("once") is not None, "the repeat refused")
    assert town.office.refused("once") == ["offer/sent-before"]
    assert len(town.finance.inbox()) == before
