"""The shape of a catalogue entry."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """What a code says in Chinese and English and what mends it; ``{names}`` are facts every use of the code must give."""

    zh: str
    en: str
    fix: str
    fix_zh: str
