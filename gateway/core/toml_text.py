"""TOML that people write, read with its ceilings: configuration and policy.

``tomllib`` bounds nothing: a key of n parts costs it n² steps (half a megabyte of dots is minutes), and what it raises is not only its own
error.
"""

from __future__ import annotations

import tomllib
from typing import Any

MAX_DOTS = 1_000  # in one line: a key has three or four, a long list of media types some hundred


class NotToml(ValueError):
    """These bytes are no TOML we read."""


def read_toml(data: bytes) -> tuple[str, dict[str, Any]]:
    """The text and its values. The caller has bounded its length. Raises NotToml, naming the place where the reader knows it."""
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.count(b".") > MAX_DOTS:
            raise NotToml(f"more than {MAX_DOTS} dots (at line {number})")
    try:
        text = data.decode("utf-8")
        return text, tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # no UTF-8, no TOML, an integer of thousands of digits, a thousand brackets
        raise NotToml(str(error)) from error
