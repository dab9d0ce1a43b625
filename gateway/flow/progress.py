"""Where a sealed exchange stands, remembered while it is hot, so that showing it to the office need not read it all again.

Follows what was recorded, never runs ahead of it; whoever moves a passage by any other way drops the exchange from what is hot.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from gateway.core.exchange import Event, State
from gateway.core.explain import Reason
from gateway.core.receipt import Receipt

Link = tuple[str, str | None, str | None]  # (issuer, recipient, prev): what no issuer uses twice


def link_of(receipt: Receipt) -> Link:
    """The place of a receipt in its issuer's chain about a pair."""
    return receipt.by.org, receipt.recipient, receipt.prev


@dataclass(slots=True)
class Said:
    """What was stated about one exchange: the digests behind each link, in order of arrival, and who was handed it."""

    digests: dict[Link, tuple[str, ...]] = field(default_factory=dict)
    handed: set[str | None] = field(default_factory=set)

    def add(self, receipt: Receipt, digest: str) -> None:
        """This was stated."""
        link = link_of(receipt)
        before = self.digests.get(link, ())
        if digest not in before:
            self.digests[link] = (*before, digest)
        if receipt.event == Event.HANDOVER:
            self.handed.add(receipt.recipient)

    def handed_over(self, receipt: Receipt) -> bool:
        """Whether the recipient it is about said that its office has the document."""
        return receipt.recipient in self.handed

    def copy(self) -> Said:
        """What was stated until now."""
        return Said(dict(self.digests), set(self.handed))


@dataclass(slots=True)
class Stand:
    """One recipient's passage: its state, since when, and what was stated about it (event, organisation, at)."""

    state: State
    at: datetime
    events: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Progress:
    """Title and reasons as decided, and every recipient's stand."""

    title: str
    reasons: tuple[Reason, ...]
    stands: dict[str, Stand]
    said: Said = field(default_factory=Said)

    def stated(self, receipt: Receipt, digest: str, state: State, at: datetime) -> None:
        """A receipt was recorded that moved its passage."""
        stand = self.stands[receipt.recipient or ""]
        stand.state, stand.at = state, at
        stand.events.append((receipt.event, receipt.by.org, receipt.at))
        self.said.add(receipt, digest)
