"""Where everything of a red-head document stands on its pages, aligned with GB/T 9704-2012; no file format here.

Millimetres from the upper left corner; a text stands on its baseline. The text block is 156 × 225 mm with 22 lines of 28 characters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

PAGE_WIDTH: Final = 210.0
PAGE_HEIGHT: Final = 297.0
LEFT: Final = 28.0  # 订口
TOP: Final = 37.0  # 天头
WIDTH: Final = 156.0
HEIGHT: Final = 225.0
RIGHT: Final = LEFT + WIDTH
BOTTOM: Final = TOP + HEIGHT
PER_LINE: Final = 28
PER_PAGE: Final = 22
PITCH: Final = HEIGHT / PER_PAGE
EM: Final = WIDTH / PER_LINE  # 3号 type, spaced so that 28 characters fill the line

SIZE_2: Final = 22 * 25.4 / 72  # 2号
SIZE_3: Final = 16 * 25.4 / 72  # 3号
SIZE_4: Final = 14 * 25.4 / 72  # 4号
MARK_TOP: Final = 35.0  # from the text block's upper edge to the issuing authority's mark
MARK_LARGEST: Final = 15.0  # "醒目、美观", and no larger than what the State Council prints (22 × 15 mm)
FINE: Final = 0.25  # rules of the imprint: outer ones thick, inner ones fine
THICK: Final = 0.35

_NEVER_FIRST: Final = frozenset("，。、；：？！）〕》」』”’％")
_NEVER_LAST: Final = frozenset("（〔《「『“‘")


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """The elements of GB/T 9704 that our specimens use."""

    mark: str  # 发文机关标志
    number: str  # 发文字号
    title: tuple[str, ...]  # 标题, broken into lines by meaning
    addressees: str  # 主送机关
    paragraphs: tuple[str, ...]
    attachments: tuple[str, ...] = ()  # 附件说明
    signature: str  # 发文机关署名
    written: date  # 成文日期
    copies: str = ""  # 抄送机关
    printed_by: str  # 印发机关
    secrecy: str = ""  # 密级和保密期限, as printed


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Characters on one baseline; ``advance`` is the width of a full-width one."""

    x: float
    y: float
    text: str
    size: float
    advance: float
    red: bool = False
    bold: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A horizontal line."""

    x: float
    y: float
    width: float
    thickness: float
    red: bool = False


@dataclass(slots=True)
class Page:
    """One page, in the order of painting."""

    texts: list[Text] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)


def printed_date(day: date) -> str:
    """2026年7月1日: Arabic, no padding (GB/T 9704 7.3.5.4)."""
    return f"{day.year}年{day.month}月{day.day}日"


def em_width(text: str) -> float:
    """The width in full-width characters; ASCII is half as wide."""
    return sum(0.5 if character.isascii() else 1.0 for character in text)


def pages(notice: Notice) -> tuple[Page, ...]:
    """The notice set on its pages."""
    setter = _Setter()
    _head(setter, notice)
    setter.blank()
    for line in notice.title:
        setter.centred(line, SIZE_2, bold=True)
    setter.blank()
    setter.lines(wrapped(notice.addressees, indent=0))
    for paragraph in notice.paragraphs:
        setter.lines(wrapped(paragraph, indent=2))
    if notice.attachments:
        setter.blank()
        setter.lines(_attachment_lines(notice.attachments))
    _signed(setter, notice)
    _imprint(setter, notice)
    for number, page in enumerate(setter.pages, start=1):
        _page_number(page, number)
    return tuple(setter.pages)


def wrapped(text: str, *, indent: int) -> Iterator[str]:
    """Lines of at most 28 characters, the first one indented; no punctuation mark begins a line, no opening bracket ends one."""
    line, width = "\u3000" * indent, float(indent)
    for character in text:
        wide = em_width(character)
        if width + wide > PER_LINE and character not in _NEVER_FIRST:
            carried = line[-1] if line[-1] in _NEVER_LAST else ""
            yield line[: len(line) - len(carried)]
            line, width = carried, em_width(carried)
        line += character
        width += wide
    yield line


class _Setter:
    """Sets line after line, and begins a page when one is full."""

    def __init__(self) -> None:
        self.pages = [Page()]
        self.row = 0  # lines used on this page

    @property
    def page(self) -> Page:
        return self.pages[-1]

    def baseline(self) -> float:
        """Where the next line stands; its page is begun when the last is full."""
        if self.row >= PER_PAGE:
            self.pages.append(Page())
            self.row = 0
        self.row += 1
        return TOP + self.row * PITCH - (PITCH - SIZE_3) / 2 - SIZE_3 * 0.12

    def blank(self) -> None:
        self.row += 1

    def lines(self, lines: Iterator[str] | Sequence[str]) -> None:
        for line in lines:
            self.page_text(line, LEFT, SIZE_3, EM)

    def page_text(self, line: str, x: float, size: float, advance: float) -> None:
        y = self.baseline()
        self.page.texts.append(Text(x=x, y=y, text=line, size=size, advance=advance))

    def centred(self, line: str, size: float, *, bold: bool = False) -> None:
        y = self.baseline()
        x = LEFT + (WIDTH - em_width(line) * size) / 2
        self.page.texts.append(Text(x=x, y=y, text=line, size=size, advance=size, bold=bold))


def _head(setter: _Setter, notice: Notice) -> None:
    """版头: the mark in red, the number, and the red rule 4 mm below it."""
    page = setter.page
    if notice.secrecy:
        page.texts.append(Text(x=LEFT, y=TOP + PITCH * 0.65, text=notice.secrecy, size=SIZE_3, advance=EM, bold=True))
    size = min(MARK_LARGEST, WIDTH / em_width(notice.mark))
    y = TOP + MARK_TOP + size * 0.88
    page.texts.append(
        Text(x=LEFT + (WIDTH - em_width(notice.mark) * size) / 2, y=y, text=notice.mark, size=size, advance=size, red=True, bold=True)
    )
    number_y = y + 2 * PITCH + SIZE_3 * 0.5  # two lines empty
    page.texts.append(
        Text(x=LEFT + (WIDTH - em_width(notice.number) * EM) / 2, y=number_y, text=notice.number, size=SIZE_3, advance=EM),
    )
    rule_y = number_y + SIZE_3 * 0.12 + 4
    page.rules.append(Rule(x=LEFT, y=rule_y, width=WIDTH, thickness=0.7, red=True))
    setter.row = round((rule_y - TOP) / PITCH + 0.4)  # the body begins on the grid again


def _attachment_lines(attachments: Sequence[str]) -> list[str]:
    """附件说明: numbered when there are several, no punctuation behind a name (7.3.4)."""
    if len(attachments) == 1:
        return [f"\u3000\u3000附件：{attachments[0]}"]
    first, *rest = (f"{number}.{name}" for number, name in enumerate(attachments, start=1))
    return [f"\u3000\u3000附件：{first}", *(f"\u3000\u3000\u3000\u3000\u3000{line}" for line in rest)]


def _signed(setter: _Setter, notice: Notice) -> None:
    """署名 and 成文日期: the date four characters from the right, the name centred above it (7.3.5.1)."""
    setter.row += 2 if setter.row + 4 <= PER_PAGE else 1  # the space gives way before name and date leave the text
    if setter.row + 2 > PER_PAGE:
        setter.row = PER_PAGE  # name and date stay together
    day = printed_date(notice.written)
    day_x = RIGHT - (4 + em_width(day)) * EM
    name_x = day_x + (em_width(day) - em_width(notice.signature)) * EM / 2
    setter.page_text(notice.signature, min(name_x, RIGHT - (2 + em_width(notice.signature)) * EM), SIZE_3, EM)
    setter.page_text(day, day_x, SIZE_3, EM)


def _imprint(setter: _Setter, notice: Notice) -> None:
    """版记: at the foot of the last, even page; 4号 type, one character from either side (7.4)."""
    rows = 2 if notice.copies else 1
    if setter.row > PER_PAGE - rows - 1 or len(setter.pages) % 2:
        setter.pages.append(Page())
    page, step, inset = setter.page, PITCH * 0.85, SIZE_4
    upper = BOTTOM - rows * step
    page.rules.append(Rule(x=LEFT, y=upper, width=WIDTH, thickness=THICK))
    if notice.copies:
        page.texts.append(_small(LEFT + inset, upper + step * 0.7, f"抄送：{notice.copies}"))
        page.rules.append(Rule(x=LEFT, y=upper + step, width=WIDTH, thickness=FINE))
    day = printed_date(notice.written) + "印发"
    page.texts.append(_small(LEFT + inset, BOTTOM - step * 0.3, notice.printed_by))
    page.texts.append(_small(RIGHT - inset - em_width(day) * SIZE_4, BOTTOM - step * 0.3, day))
    page.rules.append(Rule(x=LEFT, y=BOTTOM, width=WIDTH, thickness=THICK))


def _small(x: float, y: float, text: str) -> Text:
    return Text(x=x, y=y, text=text, size=SIZE_4, advance=SIZE_4)


def _page_number(page: Page, number: int) -> None:
    """页码: below the text block, one character from the right on odd pages, from the left on even ones (7.5)."""
    text = f"— {number} —"
    x = RIGHT - SIZE_4 - em_width(text) * SIZE_4 if number % 2 else LEFT + SIZE_4
    page.texts.append(_small(x, BOTTOM + 7 + SIZE_4 * 0.88, text))
