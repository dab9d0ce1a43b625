"""How the command line speaks: Chinese or English by locale, or JSON for programs; errors as what, why, and what to do.

People's output may change from version to version; JSON output and exit codes may not.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Literal, TextIO

from crypto.errors import YizhanError
from gateway.core.explain import Reason, explain_error

Language = Literal["zh", "en"]

OK = 0
PROBLEM = 1  # the command ran and found something wrong
USAGE = 2  # the command could not run on what it was given


def language_of(environment: Mapping[str, str]) -> Language:
    """The language the locale asks for (POSIX order of precedence); English where it asks for neither."""
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := environment.get(variable):
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"


def language_of_arguments(arguments: Sequence[str]) -> Language:
    """``--lang`` wherever it stands, else the locale: needed before the parser is built, for its help is bilingual."""
    for index, argument in enumerate(arguments):
        value = argument.removeprefix("--lang=") if argument.startswith("--lang=") else ""
        if argument == "--lang" and index + 1 < len(arguments):
            value = arguments[index + 1]
        if value in ("zh", "en"):
            return "zh" if value == "zh" else "en"
    return language_of(os.environ)


class Voice:
    """One language, and whether a program listens."""

    __slots__ = ("err", "json", "lang", "out")

    def __init__(self, lang: Language, *, json: bool = False, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.lang = lang
        self.json = json
        self.out = out or sys.stdout
        self.err = err or sys.stderr

    def pick(self, zh: str, en: str) -> str:
        """The one of two texts in this language."""
        return zh if self.lang == "zh" else en

    def say(self, zh: str, en: str) -> None:
        """A line for people; nothing when a program listens."""
        if not self.json:
            print(self.pick(zh, en), file=self.out, flush=True)

    def note(self, zh: str, en: str) -> None:
        """A warning or a remark on the error stream, so that it never mixes with results."""
        print(self.pick(zh, en), file=self.err, flush=True)

    def value(self, value: object) -> None:
        """The result for a program; nothing when people listen."""
        if self.json:
            print(json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True), file=self.out, flush=True)

    def reasons(self, reasons: Sequence[Reason]) -> None:
        """Each reason: what is wrong, where, and what mends it."""
        if self.json:
            self.value({"ok": False, "reasons": [reason_value(reason) for reason in reasons]})
        for reason in reasons:
            where = f" [{reason.at}]" if reason.at else ""
            print(self.pick(f"✗ {reason.zh}{where}", f"✗ {reason.en}{where}"), file=self.err)
            if fix := self.pick(reason.fix_zh, reason.fix):
                print("  → " + fix, file=self.err)
            print(self.pick(f"  （代码 {reason.rule}）", f"  (code {reason.rule})"), file=self.err, flush=True)

    def error(self, error: YizhanError) -> None:
        """An error as its reasons, or as the one its code stands for."""
        self.reasons(error.facts.get("reasons") or (explain_error(error),))


def reason_value(reason: Reason) -> dict[str, str]:
    """A reason as programs read it."""
    return {"rule": reason.rule, "zh": reason.zh, "en": reason.en, "fix": reason.fix, "fix_zh": reason.fix_zh, "at": reason.at}
