"""The same document offered once more: every office must recognise it, or it would be offered for ever."""

from __future__ import annotations

from itertools import zip_longest

from gateway.core.errors import OfferGone, PartChanged
from gateway.core.explain import Reason, explain
from gateway.flow.ports import BadOffer, Offer, OfferedPart


def same_offer(offer: Offer | BadOffer | None, other: Offer | BadOffer | None) -> bool:
    """Whether both are good offers that say and hold the same, byte for byte. Blocking: reads both."""
    if not isinstance(offer, Offer) or not isinstance(other, Offer):
        return False
    if (offer.document, offer.recipients, *map(_facts, offer.parts)) != (other.document, other.recipients, *map(_facts, other.parts)):
        return False
    try:
        return all(
            chunk == twin
            for part, other_part in zip(offer.parts, other.parts, strict=True)
            for chunk, twin in zip_longest(part.read(), other_part.read())
        )
    except (PartChanged, OfferGone):
        return False


def sent_before(exchange: str) -> Reason:
    """Why a repeat leaves the tray without a new exchange."""
    return explain("offer/sent-before", exchange=exchange)


def _facts(part: OfferedPart) -> tuple[str, str, str | None, int]:
    return part.name, part.role, part.level, part.size
