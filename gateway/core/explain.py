"""Why something was refused, held or permitted, in words for people: a rule, what it says in Chinese and English, and what mends it.

Every error code and every rule of the code base has an entry in the closed catalogue (``gateway.core.explanations``); a test walks the
code and finds the missing ones. Texts are templates over named facts. Facts may come from strangers, so they are cleaned and cut
before they enter a sentence; templates never come from outside.

    explain("document/number", number="国办发[2012]1号", suggestion="国办发〔2012〕1号", at="number")
"""

from __future__ import annotations

from dataclasses import dataclass

from crypto.errors import YizhanError
from gateway.core.explanations import CATALOGUE

MAX_FACT_CHARACTERS = 200  # a reason is read by a person; a fact longer than this helps nobody and fills the log
_UNREADABLE = {*range(0x20), *range(0x7F, 0xA0), 0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF}
_CLEANER = {**dict.fromkeys(_UNREADABLE, "\N{REPLACEMENT CHARACTER}"), **dict.fromkeys(range(0xD800, 0xE000), "\N{REPLACEMENT CHARACTER}")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One reason of a verdict. ``at`` says where in the input it lies (a field, a file, an organisation code), or is empty."""

    rule: str
    zh: str
    en: str
    fix: str
    fix_zh: str
    at: str = ""


def shown(fact: object) -> str:
    """A fact as it may stand in a sentence: one line, no control or direction characters, cut at a ceiling."""
    text = str(fact).translate(_CLEANER)
    return text if len(text) <= MAX_FACT_CHARACTERS else text[: MAX_FACT_CHARACTERS - 1] + "…"


def explain(code: str, /, *, rule: str = "", at: str = "", **facts: object) -> Reason:
    """The reason for ``code``; ``rule`` names the rule when it is not the code itself (a line of a policy file).

    An unknown code or a missing fact is a defect of ours, never of the input.
    """
    try:
        texts = CATALOGUE[code]
        named = {name: shown(fact) for name, fact in facts.items()}
        return Reason(
            rule=rule or code,
            zh=texts.zh.format_map(named),
            en=texts.en.format_map(named),
            fix=texts.fix.format_map(named),
            fix_zh=texts.fix_zh.format_map(named),
            at=shown(at),
        )
    except KeyError as missing:
        raise AssertionError(f"internal: no explanation {code!r} with fact {missing}") from None


def explain_error(error: YizhanError, at: str = "") -> Reason:
    """The reason an error amounts to: the text of its code (or of its nearest ancestor's), with the error's own message behind it.

    For our own people and log: the message may say more than a stranger should hear.
    """
    code = next(family.code for family in type(error).__mro__ if issubclass(family, YizhanError) and family.code in CATALOGUE)
    texts, message = CATALOGUE[code], shown(error)
    return Reason(
        rule=error.code, zh=f"{texts.zh}（{message}）", en=f"{texts.en} ({message})", fix=texts.fix, fix_zh=texts.fix_zh, at=shown(at)
    )
