"""The closed, numbered table of cryptographic suites (docs/format.md, Suites).

Policy chooses a suite; nothing negotiates one. A key or certificate of one suite is never accepted in the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from crypto.errors import UnknownSuite

SuiteId = Literal["gm-1", "intl-1"]
DigestName = Literal["sm3", "sha256"]

SM2_DEFAULT_ID = b"1234567812345678"  # GB/T 35276: the distinguishing identifier used when none is agreed


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """One row of the table. Key lengths in bytes."""

    id: SuiteId
    digest: DigestName
    signature: str
    key_wrap: str
    cipher: str
    content_key_length: int


GM_1 = Suite(id="gm-1", digest="sm3", signature="SM2-with-SM3", key_wrap="SM2", cipher="SM4-GCM", content_key_length=16)
INTL_1 = Suite(
    id="intl-1",
    digest="sha256",
    signature="ECDSA-P256-with-SHA256",
    key_wrap="ECDH-ES P-256 + AES-256 wrap",
    cipher="AES-256-GCM",
    content_key_length=32,
)
SUITES: dict[str, Suite] = {suite.id: suite for suite in (GM_1, INTL_1)}


def suite_named(suite_id: str) -> Suite:
    """The suite of that id. Raises UnknownSuite."""
    try:
        return SUITES[suite_id]
    except KeyError:
        raise UnknownSuite(f"no suite {suite_id!r}", suite=suite_id) from None
