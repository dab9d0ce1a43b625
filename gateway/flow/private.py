"""What our own people may read of an exchange (metadata, parts, the office's name of it), kept sealed under the storage key.

Nothing of it stands in the database or the log in the clear. What is only compared, an office's name of an offer or a person's account,
is kept as a keyed digest: whoever has the disk without the key cannot even try names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from crypto.content_cipher import StorageKey
from gateway.core.document import Document
from gateway.core.exchange import Direction
from gateway.core.explain import Reason
from gateway.core.policy import PartFacts
from gateway.flow.standing import Standing

ALIAS = 12  # characters of a keyed digest that stand for a name in the log

Use = Literal["private", "own-key"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Private:
    """The document's metadata, the reasons of our decision, and what policy saw: it may be asked again after a restart."""

    document: Document
    reasons: tuple[Reason, ...] = ()
    parts: tuple[PartFacts, ...] = ()
    source: str = ""  # the office's own name of the offer


def bound(use: Use, direction: Direction, exchange: str) -> bytes:
    """The associated data of a sealed field: it opens for this use, direction and exchange (by its key) alone."""
    return f"yizhan/{use}/{direction}/{exchange}".encode()


def seal_private(standing: Standing, direction: Direction, exchange: str, private: Private) -> bytes:
    """Sealed for storage, bound to the exchange."""
    return standing.storage_key.seal(msgspec.json.encode(private), bound("private", direction, exchange))


def open_private(key: StorageKey, direction: Direction, exchange: str, sealed: bytes) -> Private:
    """Raises Unverified when it was not sealed here for this exchange in this direction."""
    return msgspec.json.decode(key.open(sealed, bound("private", direction, exchange)), type=Private)


def source_digest(standing: Standing, office: str, source: str) -> str:
    """What the ledger knows an office's offer by."""
    return standing.storage_key.digest("source", f"{office}/{source}")
