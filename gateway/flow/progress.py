"""Where a sealed exchange stands, remembered while it is hot, so that showing it to the office need not read it all again.

Follows what was recorded, never runs ahead of it; whoever moves a passage by any other way drops the exchange from what is hot.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from gateway.core.exchange import State
from gateway.core.explain import Reason
from gateway.core.receipt import Receipt


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

    def stated(self, receipt: Receipt, state: State, at: datetime) -> None:
        """A receipt was recorded that moved its passage."""
        stand = self.stands[receipt.recipient or ""]
        stand.state, stand.at = state, at
        stand.events.append((receipt.event, receipt.by.org, receipt.at))
