"""An office system that lives in memory: a whole little office for tests and measurements, with the promises of a real one.

Its people act through plain methods: ``approve`` puts a document into the tray, ``sign_for`` and ``send_back`` answer a delivered one.
Nothing survives the process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from adapters.media_types import media_type_of
from adapters.repeats import same_offer, sent_before
from gateway.core.document import Document
from gateway.core.errors import OfferGone
from gateway.core.explain import Reason
from gateway.core.manifest import PartEntry
from gateway.flow.ports import Act, BadOffer, Delivery, Offer, OfferedPart, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A document in the office; ``content`` is empty where the office only counts."""

    delivery: Delivery
    entries: tuple[PartEntry, ...]
    content: tuple[bytes, ...]


@dataclass(slots=True)
class MemoryOffice:
    """``keep_content`` False takes every byte of a delivery and keeps none: for measuring large documents."""

    name: str = "memory"
    keep_content: bool = True
    certainty: Literal["ask", "unique", "blind"] = "ask"
    tray: dict[str, Offer | BadOffer] = field(default_factory=dict)
    sent: dict[str, Offer] = field(default_factory=dict)
    refused: dict[str, tuple[Reason, ...]] = field(default_factory=dict)
    statuses: dict[tuple[str, str], Status] = field(default_factory=dict)
    inbox: dict[str, Delivered] = field(default_factory=dict)
    answered: dict[str, tuple[Reason, ...]] = field(default_factory=dict)
    _acts: dict[str, Act] = field(default_factory=dict)

    # ---- what its people do

    def approve(
        self,
        source: str,
        document: Document,
        recipients: Sequence[tuple[str, Literal["primary", "copy"]]],
        parts: Sequence[tuple[str, bytes]],
    ) -> None:
        """Put an approved document into the tray; the first part is its body."""
        offered = tuple(
            OfferedPart(
                name=name,
                role="attachment" if index else "body",
                level=None,
                media_type=media_type_of(name),
                size=len(content),
                read=lambda content=content: iter((content,)),  # type: ignore[misc]  # mypy has no type for a default of a lambda
            )
            for index, (name, content) in enumerate(parts)
        )
        self.tray[source] = Offer(source=source, document=document, recipients=tuple(recipients), parts=offered)

    def sign_for(self, exchange: str, actor: str = "clerk") -> None:
        """签收."""
        self._answer(Act(id=f"{exchange}/sign-for", exchange=exchange, kind="sign-for", actor=actor))

    def send_back(self, exchange: str, reason: str, actor: str = "clerk") -> None:
        """退回."""
        self._answer(Act(id=f"{exchange}/return", exchange=exchange, kind="return", actor=actor, reason=reason))

    def _answer(self, act: Act) -> None:
        self._acts[act.id] = act

    # ---- what the flow asks

    async def offers(self) -> AsyncIterator[Offer | BadOffer]:
        """The tray, oldest first."""
        for offer in tuple(self.tray.values()):
            yield offer

    async def fetch(self, source: str, exchange: str) -> Offer:
        """Raises OfferGone."""
        offer = self.sent.get(exchange) or self.tray.get(source)
        if not isinstance(offer, Offer):
            raise OfferGone("the office has no such offer any more", source=source)
        return offer

    async def settle(self, source: str, exchange: str) -> None:
        """Out of the tray; a repeat leaves alone what has come into its place, unless that is the same document once more."""
        offer = self.tray.get(source)
        if exchange not in self.sent and isinstance(offer, Offer):
            self.sent[exchange] = offer
            del self.tray[source]
        elif same_offer(offer, self.sent.get(exchange)):
            await self.refuse(source, (sent_before(exchange),))

    async def refuse(self, source: str, reasons: Sequence[Reason]) -> None:
        """Out of the tray, with the reasons."""
        if self.tray.pop(source, None) is not None:
            self.refused[source] = tuple(reasons)

    async def report(self, status: Status) -> None:
        """A later status replaces an earlier one."""
        known = self.statuses.get((status.direction, status.exchange))
        if known is None or known.updated <= status.updated:
            self.statuses[status.direction, status.exchange] = status

    async def deliver(self, delivery: Delivery) -> None:
        """Complete or not at all; a known exchange changes nothing."""
        if delivery.exchange in self.inbox:
            return
        entries, content = [], []
        for part in delivery.parts():
            entries.append(part.entry)
            if self.keep_content:
                content.append(b"".join(part.chunks))
            else:
                for _ in part.chunks:
                    pass
        self.inbox[delivery.exchange] = Delivered(delivery=delivery, entries=tuple(entries), content=tuple(content))

    async def acts(self) -> AsyncIterator[Act]:
        """What was answered and not acknowledged, oldest first."""
        for act in tuple(self._acts.values()):
            yield act

    async def acknowledge(self, act: Act, reasons: Sequence[Reason] = ()) -> None:
        """Not offered again."""
        if self._acts.pop(act.id, None) is not None:
            self.answered[act.id] = tuple(reasons)
