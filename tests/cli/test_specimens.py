"""The demo's documents: whole, readable by other programs, and the same again for the same date and seed."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import zipfile
import zlib
from datetime import date
from pathlib import Path
from xml.etree import ElementTree as ET

import openpyxl
import pytest

from gateway.cli.specimen_layout import BOTTOM, LEFT, PER_LINE, RIGHT, TOP, em_width, pages, printed_date, wrapped
from gateway.cli.specimens import Notice, budget_notice, budget_reply, budget_xlsx, large_chunks, notice_ofd, notice_pdf, secret_notice
from gateway.core.document_number import is_usual_number

DAY = date(2026, 7, 1)
OFD = "{http://www.ofdspec.org/2016}"
SAMPLE = Path(__file__).resolve().parents[2].parent / "shared" / "samples" / "plain.ofd"
NOTICES = [budget_notice(DAY, seed=7), budget_reply(DAY, seed=7, to_number="榕政办发〔2026〕66号"), secret_notice(DAY, seed=7)]


def ids(notice: Notice) -> str:
    return notice.number


# ---- layout


@pytest.mark.parametrize("notice", NOTICES, ids=ids)
def test_the_page_has_what_a_red_head_document_has(notice: Notice):
    first, *_, last = pages(notice)
    (mark,) = (text for text in first.texts if text.red)
    (separator,) = (rule for rule in first.rules if rule.red)
    number = next(text for text in first.texts if text.text == notice.number)
    title = [text for text in first.texts if text.text in notice.title]
    assert mark.text == notice.mark
    assert mark.y < number.y < separator.y < min(text.y for text in title)
    assert separator.y - number.y == pytest.approx(4, abs=1)
    assert separator.width == RIGHT - LEFT
    texts = [text.text for page in pages(notice) for text in page.texts]
    assert {notice.addressees, notice.signature, printed_date(notice.written)} <= set(texts)
    imprint = [text.text for text in last.texts]
    assert printed_date(notice.written) + "印发" in imprint
    assert notice.printed_by in imprint
    assert len(pages(notice)) % 2 == 0  # 版记 stands on an even page


@pytest.mark.parametrize("notice", NOTICES, ids=ids)
def test_nothing_leaves_the_text_block(notice: Notice):
    for page in pages(notice):
        for text in page.texts:
            assert text.x >= LEFT - 0.01
            assert text.x + em_width(text.text.rstrip("，。、")) * text.advance <= RIGHT + 0.01, text.text
            assert TOP < text.y < BOTTOM or text.text.startswith("—")


@pytest.mark.parametrize("notice", NOTICES, ids=ids)
def test_signature_and_date_stand_on_one_page_with_the_text(notice: Notice):
    (page,) = (page for page in pages(notice) if any(text.text == printed_date(notice.written) for text in page.texts))
    words = [text.text for text in page.texts]
    assert notice.signature in words
    assert words.index(notice.signature) > 1


def test_lines_break_where_they_may():
    text = "一" * 27 + "，二（" + "三" * 24 + "（" + "四" * 30
    lines = list(wrapped(text, indent=0))
    assert "".join(lines) == text
    assert all(not line.startswith("，") and not line.endswith("（") for line in lines)
    assert all(em_width(line) <= PER_LINE + 1 for line in lines)


@pytest.mark.parametrize("notice", NOTICES, ids=ids)
def test_the_number_is_a_good_document_number(notice: Notice):
    assert is_usual_number(notice.number)


# ---- PDF


@pytest.mark.parametrize("notice", NOTICES, ids=ids)
def test_pdf_is_the_same_again_and_red(notice: Notice):
    data = notice_pdf(notice)
    assert data == notice_pdf(notice)
    assert data.startswith(b"%PDF-1.")
    assert data.rstrip().endswith(b"%%EOF")
    assert b"STSong-Light" in data
    assert data.count(b"/Type /Page\n") == len(pages(notice))


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="pdftotext is not installed")
def test_another_reader_reads_the_pdf(tmp_path: Path):
    (tmp_path / "n.pdf").write_bytes(notice_pdf(NOTICES[0]))
    text = subprocess.run(["pdftotext", "-raw", str(tmp_path / "n.pdf"), "-"], capture_output=True, check=True, text=True).stdout
    assert NOTICES[0].mark in re.sub(r"\s", "", text)


# ---- OFD


def opened(data: bytes) -> dict[str, ET.Element]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: ET.fromstring(archive.read(name)) for name in archive.namelist() if name.endswith(".xml")}


@pytest.mark.parametrize("notice", NOTICES, ids=ids)
def test_ofd_is_the_same_again_and_leads_to_every_text(notice: Notice):
    data = notice_ofd(notice)
    assert data == notice_ofd(notice)
    files = opened(data)
    root = files["OFD.xml"].findtext(f".//{OFD}DocRoot")
    document = files[str(root)]
    font = files["Doc_0/PublicRes.xml"].find(f".//{OFD}Font")
    locations = [page.get("BaseLoc") for page in document.iter(f"{OFD}Page")]
    assert len(locations) == len(pages(notice))
    words = ""
    for location in locations:
        for text in files[f"Doc_0/{location}"].iter(f"{OFD}TextObject"):
            code = text.find(f"{OFD}TextCode")
            assert text.get("Font") == font.get("ID")
            assert len(code.get("DeltaX", "").split()) == len(code.text) - 1
            words += code.text
    assert all(part in words for part in (notice.mark, notice.number, *notice.title, notice.addressees, notice.signature))


def test_ofd_ids_are_unique_and_below_the_maximum():
    files = opened(notice_ofd(NOTICES[0]))
    found = [int(element.get("ID")) for tree in files.values() for element in tree.iter() if element.get("ID")]
    assert len(found) == len(set(found))
    assert max(found) <= int(files["Doc_0/Document.xml"].findtext(f".//{OFD}MaxUnitID"))


@pytest.mark.skipif(not SAMPLE.exists(), reason="the sample documents are not here")
def test_ofd_is_built_like_one_nobody_here_made():
    ours, theirs = opened(notice_ofd(NOTICES[0])), opened(SAMPLE.read_bytes())
    assert set(theirs) <= set(ours)
    for name, tree in theirs.items():
        assert ours[name].tag == tree.tag
        known = {element.tag for element in ours[name].iter()}
        optional = {f"{OFD}ApplicationBox", f"{OFD}CreatorVersion"}
        assert {element.tag for element in tree.iter()} - optional <= known


# ---- spreadsheet and large file


def test_the_spreadsheet_opens_and_adds_up():
    data = budget_xlsx(DAY, seed=7)
    assert data == budget_xlsx(DAY, seed=7)
    assert data != budget_xlsx(DAY, seed=8)
    sheet = openpyxl.load_workbook(io.BytesIO(data)).active
    assert sheet["A1"].value == "2027年度基层医疗卫生机构经费需求表"
    rows = list(sheet.iter_rows(min_row=4, values_only=True))
    assert [row[0] for row in rows][-1] == "合计"
    assert all(20 <= amount <= 200 for row in rows[:-1] for amount in row[1:6])
    assert rows[0][6] == "=SUM(B4:F4)"


@pytest.mark.parametrize("size", [0, 1, 1024 * 1024, 1024 * 1024 + 1, 3_000_000])
def test_the_large_file_has_its_size_and_does_not_shrink(size: int):
    data = b"".join(large_chunks(size, seed=1))
    assert len(data) == size
    assert data == b"".join(large_chunks(size, seed=1))
    assert size < 100 or len(zlib.compress(data)) >= size


def test_another_seed_is_another_document():
    assert budget_notice(DAY, seed=1).number != budget_notice(DAY, seed=2).number
    assert next(large_chunks(100, seed=1)) != next(large_chunks(100, seed=2))
