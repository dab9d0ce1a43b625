"""The one door through which randomness enters ROOM 0 and ROOM 1.

Functions that need randomness draw it here and pass it on to a private ``_from_parts`` twin that test vectors call as well.
"""

from __future__ import annotations

import os


def random_bytes(count: int) -> bytes:
    """``count`` bytes from the operating system's generator."""
    return os.urandom(count)
