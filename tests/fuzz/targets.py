"""Every parser of bytes from outside, by name (see ``target`` for what is asked of each)."""

from __future__ import annotations

from typing import Final

from tests.fuzz.crypto_targets import CRYPTO_TARGETS
from tests.fuzz.member_targets import MEMBER_TARGETS
from tests.fuzz.office_targets import OFFICE_TARGETS
from tests.fuzz.target import Target
from tests.fuzz.wire_targets import WIRE_TARGETS

TARGETS: Final[dict[str, Target]] = {target.name: target for target in (*WIRE_TARGETS, *CRYPTO_TARGETS, *OFFICE_TARGETS, *MEMBER_TARGETS)}
