"""How long a fault test goes on: a short form in every run of the tests, a long one under ``make torture``."""

from __future__ import annotations

import os

FACTOR = float(os.environ.get("YIZHAN_TORTURE", "0"))  # 0: the short form; 1: the long form; more: longer still


def rounds(short: int, long: int) -> int:
    """So many rounds now."""
    return short if not FACTOR else max(short, round(long * FACTOR))
