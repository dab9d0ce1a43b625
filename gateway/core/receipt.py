"""The receipt 回执: one signed statement of one event about one (exchange, recipient) (docs/format.md, Receipt).

Free text never stands here, for a receipt crosses every border in clear: a reason is a code, and words travel sealed as feedback.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Annotated, ClassVar, Literal

import msgspec

from crypto.digests import digest
from crypto.errors import Malformed, RemoteError
from crypto.suites import suite_named
from gateway.core.canonical import DigestText, ExchangeId, GatewayId, OrgCode, TimeText, Wire, parse_time, version
from gateway.core.directory import Directory, DirectoryError
from gateway.core.exchange import RECEIPT_EVENTS, Event
from gateway.core.transmittal import MAX_REFS, NotEntitled, Transmittal

MAX_RECEIPT_BYTES = 8 * 1024  # about 600 bytes, and MAX_REFS ids of 39 bytes each

EVENTS = RECEIPT_EVENTS
SUBMISSION_EVENTS = frozenset({Event.SUBMISSION_ACCEPTANCE, Event.SUBMISSION_REJECTION})
RELAY_EVENTS = frozenset({Event.RELAY_ACCEPTANCE, Event.RELAY_REJECTION, Event.RELAY_FAILURE})
# The outcome of a pair is one of these, stated once by the recipient (ContentHandover only where policy asks for no sign-for).
OUTCOME_EVENTS = frozenset(
    {Event.SIGNED_FOR, Event.RETURNED, Event.NOT_SIGNED_FOR, Event.CONSIGNMENT_FAILURE, Event.WITHDRAWN, Event.HANDOVER}
)

EventName = Annotated[str, msgspec.Meta(max_length=40)]  # one of EVENTS
ReasonCode = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([a-z0-9.-]{0,62}[a-z0-9])?\Z")]


class Issuer(Wire, frozen=True, kw_only=True):
    """Who states it: the organisation answers, through that gateway."""

    gateway: GatewayId
    org: OrgCode


class ReceiptReason(Wire, frozen=True, kw_only=True):
    """Why, as a code; ``note`` is a salted digest of words kept elsewhere."""

    code: ReasonCode
    note: DigestText | None


class Receipt(Wire, frozen=True, kw_only=True):
    """One event about one recipient of one exchange. ``prev`` chains the issuer's receipts for the pair."""

    MAX_BYTES: ClassVar[int] = MAX_RECEIPT_BYTES

    at: TimeText
    by: Issuer
    event: EventName
    exchange: ExchangeId
    id: ExchangeId
    prev: DigestText | None
    reason: ReceiptReason | None
    recipient: OrgCode | None
    refs: Annotated[tuple[ExchangeId, ...], msgspec.Meta(max_length=MAX_REFS)]
    sealed: DigestText | None
    transmittal: DigestText
    v: Literal["yizhan-receipt/1"] = version("yizhan-receipt/1")

    def __post_init__(self) -> None:
        parse_time(self.at)
        if self.event not in EVENTS:
            raise Malformed(f"no event {self.event!r}", event=self.event)
        if (self.recipient is None) != (self.event in SUBMISSION_EVENTS):
            raise Malformed("a receipt names its recipient, but for the two Submission events")

    @property
    def moment(self) -> datetime:
        """When its issuer says it happened."""
        return parse_time(self.at)


class OtherExchange(NotEntitled):
    """A receipt made about another exchange, or about other content. Facts: ``exchange``."""

    code = "other-exchange"


class Forked(RemoteError):
    """An issuer made two receipts with one ``prev``: it contradicts itself. Facts: ``digests``, of both."""

    code = "forked-receipts"


class SignForNotAsked(NotEntitled):
    """NotSignedFor about what was delivered, where policy asks nobody to sign: that delivery was the outcome. Facts: ``exchange``."""

    code = "sign-for-not-asked"


def receipt_digest(body: bytes, suite_id: str) -> str:
    """What ``prev`` of the next receipt and every leaf about this one name: the exact bytes, under the exchange's suite."""
    return digest(suite_named(suite_id).digest, body)


def entitled(receipt: Receipt, transmittal: Transmittal, directory: Directory, *, route: Collection[str] = ()) -> None:
    """Whether its issuer may state this event about this exchange (docs/format.md, Entitlement). Raises NotEntitled.

    ``route`` names the gateways between the sender's and the recipient's.

    1. It speaks of this exchange, and of content by the digest that was signed.
    2. Its gateway serves its organisation, by the directory.
    3. Submission events: the sender, through the gateway that signed.
    4. Everything else: about an addressed recipient.
    5. Relay events: the sender's own gateway, or one of the route.
    6. The recipient's events: that organisation itself.
    7. A ContentConsignment dated within ``expires``: nothing is accepted later.
    """
    # 1. this exchange
    if receipt.exchange != transmittal.id:
        raise OtherExchange("the receipt is about another exchange", exchange=receipt.exchange)
    content = transmittal.content
    if receipt.sealed is not None and (content is None or receipt.sealed != content.sealed):
        raise OtherExchange("the receipt is about other content", exchange=receipt.exchange)
    # 2. its gateway serves it
    by = receipt.by
    try:
        served = directory.gateway(by.gateway).organisations
    except DirectoryError as error:
        raise NotEntitled(f"the directory knows no gateway {by.gateway}", gateway=by.gateway) from error
    if by.org not in served:
        raise NotEntitled(f"{by.gateway} does not serve {by.org}", gateway=by.gateway, org=by.org)
    # 3. submission
    if receipt.event in SUBMISSION_EVENTS:
        if (by.org, by.gateway) != (transmittal.sender.org, transmittal.sender.gateway):
            raise NotEntitled(f"{receipt.event} by another than the sender", org=by.org)
        return
    # 4. an addressed recipient
    if receipt.recipient is None or transmittal.recipient(receipt.recipient) is None:
        raise NotEntitled("the receipt is about an organisation that was not addressed", recipient=receipt.recipient)
    # 5. relays
    if receipt.event in RELAY_EVENTS:
        if by.gateway != transmittal.sender.gateway and by.gateway not in route:
            raise NotEntitled(f"{receipt.event} by a gateway that is not on the route", gateway=by.gateway)
        return
    # 6. the recipient itself
    if by.org != receipt.recipient:
        raise NotEntitled(f"{receipt.event} about {receipt.recipient} by another", org=by.org, recipient=receipt.recipient)
    # 7. within expires
    if receipt.event == Event.CONSIGNMENT and receipt.moment > transmittal.expires_at:
        raise NotEntitled("a ContentConsignment dated after the exchange expired", at=receipt.at, expires=transmittal.expires)
