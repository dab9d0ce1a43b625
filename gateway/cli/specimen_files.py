"""The set pages of a notice as files: PDF, and OFD (aligned with GB/T 33190-2016). The same notice gives the same bytes."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

from crypto.digests import digest_raw
from gateway.cli.specimen_layout import PAGE_HEIGHT, PAGE_WIDTH, Notice, Page, Rule, Text, em_width, pages

ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)  # the earliest a ZIP can say: a fixed one, so that content alone decides the bytes
_POINTS: Final = 72 / 25.4
_FONT: Final = "STSong-Light"  # one of the fonts every PDF reader supplies itself: nothing is embedded
_RED: Final = (0.86, 0.07, 0.07)
_OFD_NAMESPACE: Final = "http://www.ofdspec.org/2016"


def write_zip(files: Sequence[tuple[str, bytes]]) -> bytes:
    """These files in this order, without the moment in it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            information = zipfile.ZipInfo(name, ZIP_TIME)
            information.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(information, data)
    return packed.getvalue()


# ---- PDF -------------------------------------------------------------------------------------------------------------------------


def notice_pdf(notice: Notice) -> bytes:
    """The notice as PDF, A4."""
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont
    from reportlab.pdfgen.canvas import Canvas

    pdfmetrics.registerFont(UnicodeCIDFont(_FONT))
    written = io.BytesIO()
    canvas = Canvas(written, pagesize=(PAGE_WIDTH * _POINTS, PAGE_HEIGHT * _POINTS), invariant=1)
    canvas.setTitle("".join(notice.title))
    canvas.setAuthor(notice.signature)
    for page in pages(notice):
        for rule in page.rules:
            _pdf_rule(canvas, rule)
        for text in page.texts:
            _pdf_text(canvas, text)
        canvas.showPage()
    canvas.save()
    return written.getvalue()


def _pdf_text(canvas: Any, text: Text) -> None:
    """Character by character: readers bring fonts of their own, and their widths would move what the layout has placed."""
    colour = _RED if text.red else (0, 0, 0)
    canvas.saveState()  # the render mode outlives its text object
    canvas.setFillColorRGB(*colour)
    canvas.setStrokeColorRGB(*colour)
    canvas.setLineWidth(text.size * 0.03 * _POINTS)
    x = text.x
    for character in text.text:
        if not character.isspace():
            line = canvas.beginText(x * _POINTS, (PAGE_HEIGHT - text.y) * _POINTS)
            line.setFont(_FONT, text.size * _POINTS)
            line.setTextRenderMode(2 if text.bold else 0)  # filled and stroked: the reader's one weight made heavier
            line.textOut(character)
            canvas.drawText(line)
        x += em_width(character) * text.advance
    canvas.restoreState()


def _pdf_rule(canvas: Any, rule: Rule) -> None:
    canvas.setStrokeColorRGB(*(_RED if rule.red else (0, 0, 0)))
    canvas.setLineWidth(rule.thickness * _POINTS)
    y = (PAGE_HEIGHT - rule.y) * _POINTS
    canvas.line(rule.x * _POINTS, y, (rule.x + rule.width) * _POINTS, y)


# ---- OFD -------------------------------------------------------------------------------------------------------------------------


def notice_ofd(notice: Notice) -> bytes:
    """The notice as OFD: text objects and rules, one font by name, no signature."""
    numbers = iter(range(1, 1_000_000))  # ids are unique within the document (GB/T 33190 7.2)
    font = next(numbers)
    contents, entries = [], []
    for index, page in enumerate(pages(notice)):
        entries.append(f'<ofd:Page ID="{next(numbers)}" BaseLoc="Pages/Page_{index}/Content.xml"/>')
        contents.append((f"Doc_0/Pages/Page_{index}/Content.xml", _ofd_page(page, font, numbers)))
    document = (
        f"<ofd:CommonData><ofd:MaxUnitID>{next(numbers)}</ofd:MaxUnitID>"
        f"<ofd:PageArea><ofd:PhysicalBox>0 0 {PAGE_WIDTH:g} {PAGE_HEIGHT:g}</ofd:PhysicalBox></ofd:PageArea>"
        f"<ofd:PublicRes>PublicRes.xml</ofd:PublicRes></ofd:CommonData><ofd:Pages>{''.join(entries)}</ofd:Pages>"
    )
    resources = f'<ofd:Fonts><ofd:Font ID="{font}" FontName="仿宋" FamilyName="仿宋"/></ofd:Fonts>'
    return write_zip(
        [
            ("OFD.xml", _xml("OFD", _ofd_body(notice), ' Version="1.0" DocType="OFD"')),
            ("Doc_0/Document.xml", _xml("Document", document)),
            ("Doc_0/PublicRes.xml", _xml("Res", resources, ' BaseLoc="Res"')),
            *contents,
        ]
    )


def _ofd_body(notice: Notice) -> str:
    identity = digest_raw("sha256", "\n".join((notice.mark, notice.number, *notice.title, *notice.paragraphs)).encode())[:16].hex()
    return (
        f"<ofd:DocBody><ofd:DocInfo><ofd:DocID>{identity}</ofd:DocID><ofd:Title>{escape(''.join(notice.title))}</ofd:Title>"
        f"<ofd:Author>{escape(notice.signature)}</ofd:Author><ofd:CreationDate>{notice.written.isoformat()}</ofd:CreationDate>"
        "<ofd:Creator>Yizhan</ofd:Creator></ofd:DocInfo><ofd:DocRoot>Doc_0/Document.xml</ofd:DocRoot></ofd:DocBody>"
    )


def _ofd_page(page: Page, font: int, numbers: Iterator[int]) -> bytes:
    layer = next(numbers)
    rules = "".join(_ofd_rule(rule, next(numbers)) for rule in page.rules)
    texts = "".join(_ofd_text(text, font, next(numbers)) for text in page.texts)
    return _xml("Page", f'<ofd:Content><ofd:Layer ID="{layer}">{rules}{texts}</ofd:Layer></ofd:Content>')


def _ofd_rule(rule: Rule, number: int) -> str:
    return (
        f'<ofd:PathObject ID="{number}" Boundary="{_box(rule.x, rule.y, rule.width, rule.thickness)}" LineWidth="{rule.thickness:g}">'
        f'<ofd:StrokeColor Value="{_colour(rule)}"/><ofd:AbbreviatedData>M 0 0 L {rule.width:g} 0</ofd:AbbreviatedData></ofd:PathObject>'
    )


def _ofd_text(text: Text, font: int, number: int) -> str:
    widths = [em_width(character) * text.advance for character in text.text]
    box = _box(text.x, text.y - text.size, sum(widths), text.size * 1.2)
    steps = f' DeltaX="{" ".join(f"{width:.3f}" for width in widths[:-1])}"' if len(widths) > 1 else ""
    weight = ' Weight="700"' if text.bold else ""
    return (
        f'<ofd:TextObject ID="{number}" Boundary="{box}" Font="{font}" Size="{text.size:.3f}"{weight}>'
        f'<ofd:FillColor Value="{_colour(text)}"/><ofd:TextCode X="0" Y="{text.size:.3f}"{steps}>{escape(text.text)}</ofd:TextCode></ofd:TextObject>'
    )


def _box(x: float, y: float, width: float, height: float) -> str:
    return f"{x:.3f} {y:.3f} {width:.3f} {height:.3f}"


def _colour(mark: Text | Rule) -> str:
    return "220 18 18" if mark.red else "0 0 0"


def _xml(root: str, inner: str, attributes: str = "") -> bytes:
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<ofd:{root} xmlns:ofd={quoteattr(_OFD_NAMESPACE)}{attributes}>{inner}</ofd:{root}>'
    return text.encode()
