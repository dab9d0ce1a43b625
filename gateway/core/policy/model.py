"""A policy as a value: what a policy file says once it was read and found to make sense (docs/policy.md).

Nothing here decides. Every table is complete: whatever a file may leave out has a meaning in the file format, not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from gateway.core.levels import Level
from gateway.core.policy.degraded import DEFAULT, STRICT, Allowance
from gateway.core.urgency import Urgency

Profile = Literal["commercial", "classified"]
Expected = Literal["clearance", "hold", "refusal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Handling:
    """How documents of one level are handled."""

    level: Level
    suites: tuple[str, ...]  # in order of preference
    timestamp_required: bool
    authorities: tuple[str, ...] | None  # ids of time authorities; None: any the directory lists
    max_size: int  # bytes of all parts together
    types: frozenset[str] | None  # media types; None: any
    sign_for_required: bool
    sign_for_within: timedelta | None
    retention: timedelta
    approvals: int  # statements by different people before it may leave


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """One network and the highest level it may carry."""

    id: str
    name: str
    profile: Profile
    highest: Level


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What may cross from one zone into another. Within a zone no flow is needed."""

    id: str
    origin: str
    target: str
    both_ways: bool
    highest: Level
    approvals: int

    def permits(self, origin: str, target: str, level: Level) -> bool:
        """Whether documents of this level may cross that border in that direction."""
        ways = ((self.origin, self.target), (self.target, self.origin)) if self.both_ways else ((self.origin, self.target),)
        return (origin, target) in ways and level.rank <= self.highest.rank


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Who may write to whom, up to which level. Patterns are kept as prefixes: a whole code is the prefix only it has."""

    id: str
    senders: tuple[str, ...]
    recipients: tuple[str, ...]
    highest: Level

    def permits(self, sender: str, recipient: str, level: Level) -> bool:
        """Whether the sender may write to the recipient at this level."""
        return level.rank <= self.highest.rank and sender.startswith(self.senders) and recipient.startswith(self.recipients)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What an urgency asks for: a deadline to deliver, a weight in the queue, reminders at percentages of the deadline."""

    urgency: Urgency
    deliver_within: timedelta
    weight: int
    remind_at: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A test a policy file carries: a question, the verdict it expects and the rule it expects to be named."""

    name: str
    side: Literal["send", "receive"]
    level: str | None
    urgency: str
    sender: str
    sender_zone: str
    recipients: tuple[str, ...]
    recipient_zone: str
    types: tuple[str, ...]
    size: int
    approvals: int
    expect: Expected
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyName:
    """What names a policy in every decision: its id, its version and the digest of its file."""

    id: str
    version: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One policy file."""

    id: str
    version: int
    digest: str  # sha256 of the exact bytes of the file
    levels: Mapping[str, Handling]
    zones: Mapping[str, Zone]
    flows: tuple[Flow, ...]
    routes: tuple[Route, ...]
    urgency: Mapping[str, Pace]  # all four
    longest_life: timedelta  # of an exchange: expires − created
    tests: tuple[Case, ...]
    degraded: Mapping[str, Allowance] = field(default_factory=dict)  # by level; what is not there is handled strictly
    # The lowest level that passes: what is forbidden there is forbidden everywhere, for a higher one is never handled more freely.
    lowest: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Asked for each document."""
        first = min(self.levels.values(), key=lambda handling: handling.level.rank, default=None)
        object.__setattr__(self, "lowest", first.level.id if first is not None else "")

    @property
    def name(self) -> PolicyName:
        """What a decision's leaf and a transmittal say of this policy."""
        return PolicyName(id=self.id, version=self.version, digest=self.digest)

    def handling(self, level: str) -> Handling | None:
        """How a level is handled, or None where this policy does not let it pass at all."""
        return self.levels.get(level)

    def allowance(self, level: str | None) -> Allowance:
        """What a level may do while something is away. Of a level nobody has marked, or that is not handled here, nothing is forgiven."""
        if level is None or level not in self.levels:
            return STRICT
        return self.degraded.get(level, DEFAULT)
