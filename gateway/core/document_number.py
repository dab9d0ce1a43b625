"""The document number 发文字号: its forms, and what a wrong one was probably meant to be.

GB/T 9704-2012 7.2.5: 机关代字, year in full in brackets 〔〕 (U+3014, U+3015), serial without 第 and without leading zeros, 号.
Orders (令) and minutes (纪要) number differently.
"""

from __future__ import annotations

import re

_ISSUER = "[\\u4e00-\\u9fa5A-Za-z（）()·]{1,30}"
_USUAL = re.compile(_ISSUER + r"〔(?:19|20)[0-9]{2}〕[1-9][0-9]{0,4}号")
_ORDER = re.compile(r"(?:[\u4e00-\u9fa5]{1,20}令)?第[1-9][0-9]{0,4}号")
_MINUTES = re.compile(r"(?:[\u4e00-\u9fa5]{1,20})?第[1-9][0-9]{0,4}期")

_OPENING, _CLOSING = "〔\\[(（【［{｛﹝〖「<《〈", "〕\\])）】］}｝﹞〗」>》〉"
_MEANT = re.compile(f"(?P<issuer>.+?)[{_OPENING}](?P<year>(?:19|20)?[0-9]{{2}})年?[{_CLOSING}]第?0*(?P<serial>[1-9][0-9]{{0,4}})[号號]?")
_MEANT_OTHER = re.compile(r"(?P<before>[\u4e00-\u9fa5]{0,20}?)第?0*(?P<serial>[1-9][0-9]{0,4})(?P<unit>[号期])")
_FULL_WIDTH = {ord("０") + digit: str(digit) for digit in range(10)}
_MAX_LENGTH = 60  # no number is near; what is longer is not worth guessing at


def is_usual_number(text: str) -> bool:
    """Whether a text is a number such as 国办发〔2012〕1号."""
    return _USUAL.fullmatch(text) is not None


def is_order_number(text: str) -> bool:
    """Whether a text is a number of an order, such as 第5号."""
    return _ORDER.fullmatch(text) is not None


def is_minutes_number(text: str) -> bool:
    """Whether a text is a number of minutes, such as 第12期."""
    return _MINUTES.fullmatch(text) is not None


def is_document_number(text: str) -> bool:
    """Whether a text is a document number of any form."""
    return is_usual_number(text) or is_order_number(text) or is_minutes_number(text)


def number_year(text: str) -> int | None:
    """The year a usual number bears; the other forms bear none."""
    return int(text[text.index("〔") + 1 : text.index("〕")]) if is_usual_number(text) else None


def suggested_number(text: str, year: int) -> str:
    """What a wrong number was probably meant to be, or nothing. ``year`` tells the century of a two-digit one."""
    if len(text) > _MAX_LENGTH:
        return ""
    plain = "".join(text.translate(_FULL_WIDTH).split())
    meant = _MEANT.fullmatch(plain)
    if meant is not None:
        full = meant["year"] if len(meant["year"]) == 4 else _full_year(meant["year"], year)
        suggestion = f"{meant['issuer']}〔{full}〕{meant['serial']}号"
    else:
        other = _MEANT_OTHER.fullmatch(plain)
        suggestion = f"{other['before']}第{other['serial']}{other['unit']}" if other else ""
    return suggestion if is_document_number(suggestion) else ""


def _full_year(two_digits: str, year: int) -> str:
    """The latest year ending so that is not after the next one."""
    century = year // 100
    return f"{century}{two_digits}" if int(f"{century}{two_digits}") <= year + 1 else f"{century - 1}{two_digits}"
