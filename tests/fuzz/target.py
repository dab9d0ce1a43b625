"""Any bytes give a good value or one of our errors, nothing else, within bounded time and memory; and a good value is spelled in one way.

A ``Target`` is one parser of bytes from outside. ``attempt`` holds one input against that sentence. What the parser must do beyond it
(write the same bytes again, read them again to the same value, agree with a second reader) is asserted inside the target's function.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from crypto.errors import MAX_MESSAGE, YizhanError
from gateway.core.explain import explain_error

Shape = Literal["json", "der", "text", "bytes"]
Outcome = Literal["value", "refused"]

_BREAKING = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")  # a line of the log, or its writing as UTF-8
SLOW_MACHINE = 20  # a busy machine, instrumented code: what is bounded at all stays within so many times its ceiling


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One parser and what it may do."""

    name: str
    run: Callable[[bytes], object]  # returns, or raises one of ``errors``
    errors: tuple[type[YizhanError], ...]  # families: a peer's bytes are never our own error
    seeds: Callable[[], Sequence[bytes]]  # good values, of both suites where it makes a difference
    shape: Shape
    longest: int = 8 * 1024  # bytes of one input while fuzzing; the parser's own ceiling may be higher
    milliseconds: float = 10.0  # of CPU for one input on an idle machine
    mib: float = 4.0  # of Python's memory for one input
    slow: bool = False  # a millisecond and more an input: fewer of them in the short form


class Broken(AssertionError):
    """The sentence at the head of this file does not hold for one input."""


def attempt(target: Target, data: bytes, *, patience: float = SLOW_MACHINE) -> Outcome:
    """Hold one input against the target. Raises Broken."""
    began = time.thread_time()
    try:
        target.run(data)
        outcome: Outcome = "value"
    except target.errors as error:
        _check_error(target, error, data)
        outcome = "refused"
    except MemoryError:
        raise
    except Exception as error:
        raise Broken(f"{target.name}: {type(error).__name__}: {str(error)[:300]} for {shown(data)}") from error
    spent = 1000 * (time.thread_time() - began)
    if spent > patience * target.milliseconds:
        raise Broken(f"{target.name}: {spent:.0f} ms where {target.milliseconds:g} are the ceiling, for {shown(data)}")
    return outcome


def _check_error(target: Target, error: YizhanError, data: bytes) -> None:
    """An error of ours can be shown to people in both languages, and is short."""
    if len(str(error)) > MAX_MESSAGE:
        raise Broken(f"{target.name}: a message of {len(str(error))} characters for {shown(data)}")
    if _BREAKING.search(str(error)):
        raise Broken(f"{target.name}: a message that breaks its line in the log, {str(error)!r}, for {shown(data)}")
    reason = explain_error(error)
    if not reason.zh or not reason.en:
        raise Broken(f"{target.name}: {error.code} explains nothing")


def shown(data: bytes) -> str:
    """An input as it stands in a report."""
    return f"{len(data)} bytes {data[:200]!r}{'…' if len(data) > 200 else ''}"
