"""Problem documents (RFC 9457): the one table from our words and errors to HTTP status (docs/protocol.md, Problems).

The answer names the word and nothing else; the precise reason stays in our own log. A stranger always hears ``unknown-peer``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from crypto.errors import Malformed, UnknownSuite, YizhanError
from gateway.core.errors import JournalStopped, NoRoom, ProblemError, TooManyUploads

CONTENT_TYPE = "application/problem+json"
HEADER = "Yizhan-Problem"  # carries the word too, for the answers to HEAD, which have no body
TYPE_PREFIX = "urn:yizhan:problem:"
MAX_PROBLEM = 16 * 1024  # a problem document is a few hundred bytes; more is no problem document
MAX_RETRY_AFTER = 24 * 3600  # a peer may not talk us into waiting longer than a day


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemRow:
    """One word: its status, whether trying again can help when nothing else is said, and its meaning for the reader."""

    status: int
    retryable: bool
    title: str


def _again(status: int, title: str) -> ProblemRow:
    return ProblemRow(status=status, retryable=True, title=title)


def _final(status: int, title: str) -> ProblemRow:
    return ProblemRow(status=status, retryable=False, title=title)


PROBLEMS: dict[str, ProblemRow] = {
    "malformed": _final(400, "The request or the object in it is not of the format it claims"),
    "unknown-peer": _again(403, "The certificate of the connection is none the directory lists for a gateway"),
    "not-carrier": _again(403, "The peer is neither the sender's gateway nor allowed to carry for it"),
    "directory-unknown": _again(503, "The directory version named is not here yet"),
    "directory-expired": _again(503, "No directory is in force here"),
    "not-ours": _again(421, "The recipient is not served by this gateway"),
    "envelope-mismatch": _again(422, "An envelope is missing, spare, or not of the digest the transmittal states"),
    "signature-invalid": _again(422, "The signature does not hold"),
    "signer-not-listed": _again(422, "The signing certificate is not listed for the sender in the directory"),
    "token-missing": _again(422, "The time-stamp token that policy asks for is missing"),
    "token-invalid": _again(422, "The time-stamp token does not hold"),
    "token-time": _again(422, "The time-stamp token was not made when the transmittal says it was"),
    "directory-forked": _again(422, "The directory version named is another one here"),
    "directory-superseded": _again(422, "The transmittal was made under a directory version that had been replaced"),
    "not-entitled": _final(403, "The sender may not make this notice about that exchange"),
    "notice-not-served": _final(501, "Notices are not served here"),
    "clock": _again(422, "A time lies outside what the clocks allow"),
    "chain-invalid": _again(422, "A certificate chain does not lead to a configured root at that time"),
    "crl-stale": _again(503, "The revocation list here is out of date"),
    "revoked": _final(422, "A certificate was revoked before it was used"),
    "expired": _final(422, "The exchange has expired"),
    "lifetime": _final(422, "The exchange claims a longer life than policy allows"),
    "policy-refused": _final(403, "Policy does not let this exchange in"),
    "duplicate-other": _final(409, "The exchange is known here with another transmittal"),
    "ciphertext-mismatch": _again(422, "The ciphertext is not of the size or digest the transmittal states"),
    "content-invalid": _final(422, "The content does not open to what the transmittal states"),
    "no-room": _again(507, "Not enough disk room"),
    "busy": _again(503, "The gateway has as much work as it may take"),
    "not-found": _final(404, "No such thing here, for this peer"),
    "offset-mismatch": _again(409, "The upload continues at another offset"),
    "too-large": _final(413, "The request is larger than this route allows"),
    "too-slow": _again(408, "The request came slower than the lowest rate allowed"),
    "too-many": _again(429, "The peer has as many requests or uploads open as it may"),
    "stopping": _again(503, "The gateway is shutting down"),
    "internal": _again(500, "The gateway failed"),
}

# Errors that may escape the flow without having been put into a word there. Everything else is our defect: ``internal``.
_WORDS: tuple[tuple[type[YizhanError], str], ...] = (
    (Malformed, "malformed"),
    (UnknownSuite, "malformed"),
    (NoRoom, "no-room"),
    (TooManyUploads, "too-many"),
    (JournalStopped, "stopping"),
)


# What a peer brought about itself. Not among them: what says something about this moment here, or is ordinary in resuming an upload.
FAILURES = frozenset(
    {
        "malformed", "not-carrier", "not-ours", "envelope-mismatch", "signature-invalid", "signer-not-listed", "token-missing",
        "token-invalid", "token-time", "directory-forked", "directory-superseded", "not-entitled", "notice-not-served", "chain-invalid", "revoked", "expired", "lifetime", "policy-refused", "duplicate-other", "ciphertext-mismatch",
        "content-invalid", "not-found", "too-large", "too-slow",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What a peer is told: a word, its row, and the two facts that help it to go on."""

    word: str
    status: int
    retryable: bool
    offset: int | None = None  # with offset-mismatch: where the upload continues
    retry_after: int | None = None  # seconds

    def to_bytes(self) -> bytes:
        """The document: canonical JSON."""
        body: dict[str, Any] = {
            "code": self.word,
            "retryable": self.retryable,
            "status": self.status,
            "title": PROBLEMS[self.word].title,
            "type": TYPE_PREFIX + self.word,
        }
        if self.offset is not None:
            body["offset"] = self.offset
        return msgspec.json.encode(body, order="sorted")

    def headers(self) -> dict[str, str]:
        """The headers that go with it."""
        headers = {"Content-Type": CONTENT_TYPE, HEADER: self.word}
        if self.offset is not None:
            headers["Upload-Offset"] = str(self.offset)
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        return headers


def problem(word: str, **facts: int | None) -> Problem:
    """The problem of that word as the table has it. A word outside the table is a defect of ours (KeyError)."""
    row = PROBLEMS[word]
    return Problem(word=word, status=row.status, retryable=row.retryable, offset=facts.get("offset"), retry_after=facts.get("retry_after"))


def problem_of(error: BaseException) -> Problem:
    """The one mapping from what was raised to what is answered."""
    if isinstance(error, ProblemError):
        row = PROBLEMS.get(error.problem)
        if row is None:
            return problem("internal")
        return Problem(
            word=error.problem,
            status=row.status,
            retryable=error.retryable,
            offset=error.facts.get("offset"),
            retry_after=error.facts.get("retry_after"),
        )
    for kind, word in _WORDS:
        if isinstance(error, kind):
            return problem(word)
    return problem("internal")


def is_failure(error: BaseException) -> bool:
    """Whether the peer brought it about: it counts against what a peer may fail."""
    word = problem_of(error).word
    if word == "clock":  # ours, unless it was found in what came: then the times are among the facts
        return isinstance(error, ProblemError) and "now" in error.facts
    if word == "malformed" and isinstance(error, ProblemError) and error.retryable:
        return error.facts.get("of") == "cover"  # it came whole and is none; else a line that broke in the middle of a body
    return word in FAILURES


def is_defect(error: BaseException) -> bool:
    """Whether our log needs the traceback: the error has no word of its own."""
    if isinstance(error, ProblemError):
        return error.problem not in PROBLEMS
    return not isinstance(error, tuple(kind for kind, _ in _WORDS))


class ReadProblem(msgspec.Struct, frozen=True):
    """A problem document as a peer sent it: what we act on, nothing else. Members we do not know are skipped (RFC 9457 §3.2)."""

    code: str
    retryable: bool
    offset: int | None = None


_PROBLEM_DECODER = msgspec.json.Decoder(ReadProblem)
_WORD_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
MAX_WORD = 40  # the longest word of the table has 19 characters


def read_problem(body: bytes) -> ReadProblem:
    """The problem a peer stated. A word unknown to us is taken as it is. Raises Malformed."""
    if len(body) > MAX_PROBLEM:
        raise Malformed("a problem document above its ceiling", size=len(body))
    try:
        read = _PROBLEM_DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed("not a problem document") from error
    if not is_word(read.code) or (read.offset is not None and read.offset < 0):
        raise Malformed("not a problem document of this protocol")
    return read


def is_word(text: str) -> bool:
    """Whether this may be a problem word: it goes into logs and metric labels."""
    return 0 < len(text) <= MAX_WORD and _WORD_CHARACTERS.issuperset(text)
