"""Errors of the lowest room, in two families that say whom to blame.

``LocalError``: our own configuration, keys or a defect. ``RemoteError``: a peer, a document or an authority sent something that
does not hold. Every error has a stable ``code``; facts travel as attributes, the message is for people.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Final

# A message may quote what somebody sent, the name in a certificate nobody has verified yet say, and is one line of our log: it is cut at
# so many characters, and nothing in it ends the line, moves the cursor, turns the direction of the text or cannot be written as UTF-8.
MAX_MESSAGE: Final = 1_000
_UNFIT: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class YizhanError(Exception):
    """The root of all our errors. ``facts`` never hold secrets: they are written to logs."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, /, **facts: Any) -> None:
        line = _UNFIT.sub("\ufffd", message)
        super().__init__(line if len(line) <= MAX_MESSAGE else line[: MAX_MESSAGE - 1] + "…")
        self.facts = facts

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["facts"][name]
        except KeyError:
            raise AttributeError(name) from None


class LocalError(YizhanError):
    """Ours: configuration, keys, disk, or a defect. Nobody else can mend it."""

    code = "local-error"


class RemoteError(YizhanError):
    """Theirs: a peer, a document or an authority gave us something that does not hold."""

    code = "remote-error"


class Malformed(RemoteError):
    """These bytes are not a value of the format they claim."""

    code = "malformed"


class Unverified(RemoteError):
    """A signature, tag, digest, chain or proof does not hold. ``check`` names which."""

    code = "unverified"


class UnknownSuite(RemoteError):
    """A suite outside the closed table."""

    code = "unknown-suite"


class KeyUnusable(LocalError):
    """One of our own keys cannot be loaded or does not fit its certificate."""

    code = "key-unusable"
