"""What our own people may read of an exchange (title, number, the document's metadata), kept sealed under the storage key."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from gateway.core.document import Document
from gateway.core.explain import Reason
from gateway.core.policy import Verdict
from gateway.flow.standing import Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Private:
    """The document's metadata and the reasons of our decision."""

    document: Document
    reasons: tuple[Reason, ...] = ()

    @staticmethod
    def of(document: Document, verdict: Verdict) -> Private:
        """What is kept of a decision about a document."""
        return Private(document=document, reasons=tuple(verdict.reasons))


def seal_private(standing: Standing, exchange: str, private: Private) -> bytes:
    """Sealed for storage, bound to the exchange."""
    return standing.storage_key.seal(msgspec.json.encode(private), exchange.encode())


def open_private(standing: Standing, exchange: str, sealed: bytes) -> Private:
    """Raises Unverified when it was not sealed here for this exchange."""
    return msgspec.json.decode(standing.storage_key.open(sealed, exchange.encode()), type=Private)
