"""By when a document should be delivered or signed for, and what is to be said about it at a moment. Pure: values in, values out.

Counted from the making of the exchange id for what is sent, from the hand-over to the office for what is to be signed for; how long, and
at which steps, the policy in force says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from gateway.core.canonical import format_time
from gateway.core.exchange import Direction, State
from gateway.core.explain import Reason, explain
from gateway.core.ids import moment_of
from gateway.core.policy import Policy
from gateway.core.urgency import Deadline
from gateway.flow.ports import ExchangeRow

Wanted = Literal["deliver", "sign-for"]
WANTED: Final[Mapping[Direction, Wanted]] = {"out": "deliver", "in": "sign-for"}
# What somebody waits for: out until the office over there holds it, in until a person here has answered.
WAITING: Final[Mapping[Direction, frozenset[State]]] = {
    "out": frozenset(
        {State.TAKEN, State.HELD, State.SEALED, State.DISPATCHED, State.RELAYED, State.CONSIGNED, State.STUCK, State.UNCONFIRMED}
    ),
    "in": frozenset({State.DELIVERED}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Urge:
    """What is to be said about a deadline at a moment."""

    wanted: Wanted
    overdue: bool
    reason: Reason


def delivery_deadline(policy: Policy, exchange: str, urgency: str) -> Deadline:
    """By when what is sent should be with the recipient's office."""
    pace = policy.urgency[urgency]
    return Deadline(begun=moment_of(exchange), within=pace.deliver_within, remind_at=pace.remind_at)


def signing_deadline(policy: Policy, level: str, urgency: str, delivered: datetime) -> Deadline | None:
    """By when a person of ours should have signed for what was delivered; None where policy asks for none."""
    handling = policy.handling(level)
    if handling is None or not handling.sign_for_required or handling.sign_for_within is None:
        return None
    return Deadline(begun=delivered, within=handling.sign_for_within, remind_at=policy.urgency[urgency].remind_at)


def deadline_of(policy: Policy, direction: Direction, exchange: str, level: str, urgency: str, since: datetime) -> Deadline | None:
    """The deadline of a passage that is open since then."""
    if direction == "out":
        return delivery_deadline(policy, exchange, urgency)
    return signing_deadline(policy, level, urgency, since)


def urge(direction: Direction, deadline: Deadline, at: datetime) -> Urge | None:
    """What is to be said now; None before the first step."""
    if not deadline.reached(at):
        return None
    wanted, overdue = WANTED[direction], at >= deadline.ends
    until, percent = format_time(deadline.ends), deadline.percent(at)
    if direction == "out":
        soon, late = explain("deadline/deliver-soon", until=until, percent=percent), explain("deadline/deliver-overdue", until=until)
    else:
        soon, late = explain("deadline/sign-for-soon", until=until, percent=percent), explain("deadline/sign-for-overdue", until=until)
    return Urge(wanted=wanted, overdue=overdue, reason=late if overdue else soon)


def waiting_since(row: ExchangeRow) -> datetime | None:
    """Since when the longest waiting of its passages waits; None when none does."""
    return min((passage.updated for passage in row.passages if passage.state in WAITING[row.direction]), default=None)


def deadline_of_row(policy: Policy, row: ExchangeRow) -> Deadline | None:
    """The deadline somebody of this exchange waits by; None when nobody does, or policy sets none."""
    since = waiting_since(row)
    return None if since is None else deadline_of(policy, row.direction, row.id, row.level, row.urgency, since)
