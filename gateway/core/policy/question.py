"""What is asked of a policy: facts about one document, its sender and its recipients, at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from gateway.core.policy.degraded import Lapse

Side = Literal["send", "relay", "receive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """What the directory says of an organisation, as far as policy cares."""

    org: str
    zone: str
    highest_level: str
    suites: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartFacts:
    """One part. ``level`` None: it has the document's."""

    name: str
    media_type: str
    size: int
    digest: str
    level: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A verified statement by a person that exactly this may leave: ``covers`` is the metadata digest they saw."""

    by: str
    covers: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """May this document go from there to here? Parts are empty where they cannot be known yet (a cover before its content)."""

    side: Side
    level: str | None
    urgency: str
    metadata_digest: str  # of what the clearance will hold for, chosen by the caller
    sender: Party
    recipients: tuple[Party, ...]
    at: datetime
    directory_version: int
    directory_digest: str
    kind: str = "document"
    suite: str | None = None  # wanted, or used already; None: policy chooses
    parts: tuple[PartFacts, ...] = ()
    size: int | None = None  # of the ciphertext where parts are unknown; else the sum of the parts counts
    created: datetime | None = None  # None: now
    expires: datetime | None = None  # None: as long as policy lets it live
    stamped: bool | None = None  # whether a timestamp is there; None: not yet asked for
    zones: tuple[str, ...] = ()  # crossed on the way, beside those of the parties
    links: tuple[str, ...] = ()  # ids of the next hops
    approvals: tuple[Approval, ...] = ()
    lapses: tuple[Lapse, ...] = ()  # what is away that the decision would rest on
