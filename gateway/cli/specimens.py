"""Documents that look like real ones, made here: a red-head notice as PDF and OFD, a budget as spreadsheet, a large file.

The same date and seed give the same bytes. Places and offices are invented; numbers are drawn from the seed.

    notice = budget_notice(date(2026, 7, 1), seed=7)
    notice_pdf(notice), notice_ofd(notice), budget_xlsx(date(2026, 7, 1), seed=7)
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any, Final

from gateway.cli.specimen_files import notice_ofd, notice_pdf, write_zip
from gateway.cli.specimen_layout import Notice, printed_date

__all__ = ["Notice", "budget_notice", "budget_reply", "budget_xlsx", "large_chunks", "notice_ofd", "notice_pdf", "secret_notice"]

CHUNK: Final = 1024 * 1024

OFFICE: Final = "榕城市人民政府办公室"
FINANCE: Final = "榕城市财政局"
HEALTH: Final = "榕城市卫生健康委员会"

_CENTRES: Final = ("鼓楼街道", "台江街道", "仓山镇", "马尾镇", "晋安街道", "长乐街道", "连江镇", "罗源镇")
_ITEMS: Final = ("基本公共卫生服务", "家庭医生签约服务", "医疗设备更新", "信息系统运维", "人员培训")


def number(seed: int, *what: object, below: int) -> int:
    """A number from 0 up to ``below``, always the same for the same seed and purpose."""
    return int.from_bytes(hashlib.sha256(repr((seed, what)).encode()).digest()[:8]) % below


# ---- notices ---------------------------------------------------------------------------------------------------------------------


def budget_notice(day: date, *, seed: int) -> Notice:
    """The municipal office asks two departments for next year's budget."""
    following = day.year + 1
    return Notice(
        mark=f"{OFFICE}文件",
        number=f"榕政办发〔{day.year}〕{1 + number(seed, 'notice', below=90)}号",
        title=(f"{OFFICE}关于做好{following}年度基层", "医疗卫生机构经费保障工作的通知"),
        addressees="市财政局、市卫生健康委员会：",
        paragraphs=(
            f"为进一步健全基层医疗卫生服务体系，保障基层医疗卫生机构正常运转，经市政府同意，现就做好{following}年度基层医疗卫生机构经费保障工作有关事项通知如下。",
            (
                "一、明确保障范围。各社区卫生服务中心、乡镇卫生院承担的基本公共卫生服务、家庭医生签约服务、医疗设备更新、信息系统运维和人员培训所需经费，"
                "按照“核定任务、核定收支、绩效考核补助”的原则统筹安排，纳入年度部门预算。"
            ),
            (
                "二、规范测算程序。市卫生健康委员会应当会同各机构，对照服务人口、服务数量和服务质量逐项测算，形成经费需求表（见附件），"
                f"于{printed_date(_later(day))}前送市财政局审核。测算依据应当真实、完整，不得虚报、漏报。"
            ),
            "三、加强资金监管。市财政局要及时下达预算，加快支出进度，强化绩效评价结果应用。任何单位和个人不得挤占、截留、挪用专项资金。",
            "四、落实工作责任。各有关部门要高度重视，明确分管负责同志和经办人员，确保按时保质完成。工作中的重要情况和问题，请及时报告市政府办公室。",
        ),
        attachments=(f"{following}年度基层医疗卫生机构经费需求表",),
        signature=OFFICE,
        written=day,
        copies="市委办公室，市人大常委会办公室，市政协办公室。",
        printed_by=OFFICE,
    )


def budget_reply(day: date, *, seed: int, to_number: str) -> Notice:
    """The health commission answers."""
    return Notice(
        mark=f"{HEALTH}文件",
        number=f"榕卫函〔{day.year}〕{1 + number(seed, 'reply', below=90)}号",
        title=(f"{HEALTH}关于报送{day.year + 1}年度", "基层医疗卫生机构经费需求的函"),
        addressees="市政府办公室：",
        paragraphs=(
            (
                f"《{OFFICE}关于做好{day.year + 1}年度基层医疗卫生机构经费保障工作的通知》（{to_number}）收悉。"
                "我委组织各机构逐项测算，并经委务会议研究同意。"
            ),
            "现将经费需求表随函报送，请予审核。",
        ),
        attachments=(f"{day.year + 1}年度基层医疗卫生机构经费需求表",),
        signature=HEALTH,
        written=day,
        printed_by=f"{HEALTH}办公室",
    )


def secret_notice(day: date, *, seed: int) -> Notice:
    """A notice marked 秘密, which a commercial network must refuse."""
    return Notice(
        mark=f"{OFFICE}文件",
        number=f"榕政办发〔{day.year}〕{91 + number(seed, 'secret', below=9)}号",
        title=("关于印发年度应急演练", "组织安排的通知"),
        addressees="市财政局：",
        paragraphs=("现将年度应急演练组织安排印发给你们，请认真组织实施。本件为演示用虚构公文，不含任何国家秘密。",),
        signature=OFFICE,
        written=day,
        printed_by=OFFICE,
        secrecy="秘密★1年",
    )


def _later(day: date) -> date:
    return date(day.year, 12, 20) if day.month < 12 else date(day.year + 1, 1, 20)


# ---- spreadsheet -----------------------------------------------------------------------------------------------------------------


def budget_xlsx(day: date, *, seed: int) -> bytes:
    """The attachment: what every health centre needs next year, in units of ten thousand yuan, with sums as formulas."""
    from openpyxl import Workbook

    book = Workbook()
    sheet = book.active
    sheet.title = "经费需求表"
    sheet.append([f"{day.year + 1}年度基层医疗卫生机构经费需求表"])
    sheet.append(["单位：万元", "", "", "", "", "", f"填报日期：{printed_date(day)}"])
    sheet.append(["机构", *_ITEMS, "合计"])
    for row, centre in enumerate(_CENTRES, start=4):
        amounts = [round(20 + number(seed, centre, item, below=18_000) / 100, 2) for item in _ITEMS]
        sheet.append([f"{centre}卫生服务中心", *amounts, f"=SUM(B{row}:F{row})"])
    last = 3 + len(_CENTRES)
    sheet.append(["合计", *(f"=SUM({column}4:{column}{last})" for column in "BCDEFG")])
    _dress(sheet, last + 1)
    book.properties.creator = HEALTH
    written = io.BytesIO()
    book.save(written)
    return _without_moments(written.getvalue(), datetime(day.year, day.month, day.day, 9, tzinfo=UTC))


def _dress(sheet: Any, last: int) -> None:
    """Column widths, a merged heading, borders, two decimals."""
    from openpyxl.styles import Alignment, Border, Font, Side

    sheet.merge_cells("A1:G1")
    sheet["A1"].font = Font(name="宋体", size=16, bold=True)
    sheet["A1"].alignment = Alignment(horizontal="center")
    sheet.column_dimensions["A"].width = 26
    for column in "BCDEFG":
        sheet.column_dimensions[column].width = 18
    line = Side(style="thin")
    for row in sheet.iter_rows(min_row=3, max_row=last, max_col=7):
        for cell in row:
            cell.border = Border(left=line, right=line, top=line, bottom=line)
            cell.font = Font(name="宋体", size=11, bold=cell.row in {3, last})
            if cell.column > 1 and cell.row > 3:
                cell.number_format = "#,##0.00"
    sheet.freeze_panes = "B4"


def _without_moments(book: bytes, moment: datetime) -> bytes:
    """The same workbook with ``moment`` in place of the one it was saved at: in its properties and in the ZIP around it."""
    stamp = f">{moment:%Y-%m-%dT%H:%M:%SZ}</dcterms:".encode()
    with zipfile.ZipFile(io.BytesIO(book)) as archive:
        files = [(name, archive.read(name)) for name in archive.namelist()]
    return write_zip([(name, re.sub(rb">[^<>]*Z</dcterms:", stamp, data) if name == "docProps/core.xml" else data) for name, data in files])


# ---- a large file ----------------------------------------------------------------------------------------------------------------


def large_chunks(size: int, *, seed: int) -> Iterator[bytes]:
    """``size`` bytes that no compression makes smaller, a MiB at a time."""
    for start in range(0, size, CHUNK):
        yield hashlib.shake_128(f"{seed}:{start}".encode()).digest(min(CHUNK, size - start))
