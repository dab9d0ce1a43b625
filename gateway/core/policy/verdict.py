"""The three answers of a policy. A Clearance is permission as a value: nobody makes one but ``decide``."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import InitVar, dataclass
from datetime import datetime, timedelta
from typing import Literal

from crypto.errors import LocalError
from crypto.suites import Suite
from gateway.core.explain import Reason
from gateway.core.policy.degraded import Mode
from gateway.core.policy.model import PolicyName
from gateway.core.policy.question import Approval

_DECIDED = object()  # known to ``decide`` alone; a Clearance made without it is refused by its constructor

Subject = Literal["policy", "directory", "time", "metadata", "recipients"]


class ClearanceVoid(LocalError):
    """A clearance does not cover what is about to be done: decide again. Fact: ``subject``, what it no longer covers."""

    code = "clearance-void"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A person must decide."""

    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """It may not go; every reason is named."""

    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clearance:
    """It may go, exactly like this and until ``ends``."""

    metadata_digest: str
    part_digests: tuple[str, ...]
    level: str
    urgency: str
    sender: str
    recipients: frozenset[str]
    zones: frozenset[str]
    links: frozenset[str]
    policy: PolicyName
    directory_version: int
    directory_digest: str
    approvals: tuple[Approval, ...]
    ends: datetime
    suite: Suite
    timestamp_required: bool
    allowed_authorities: tuple[str, ...] | None  # ids; None: any the directory lists
    sign_for_required: bool
    sign_for_within: timedelta | None
    retention: timedelta
    expires: datetime  # of the exchange
    deliver_within: timedelta
    remind_at: tuple[int, ...]
    priority: int  # larger goes first
    reasons: tuple[Reason, ...]  # the rules it rests on
    graces: tuple[Mode, ...] = ()  # what was away and forgiven
    decided: InitVar[object]

    def __post_init__(self, decided: object) -> None:
        if decided is not _DECIDED:
            raise TypeError("only decide() makes a Clearance")

    def check(self, *, policy_digest: str, directory_version: int, at: datetime, metadata_digest: str, recipients: Collection[str]) -> None:
        """Refuse anything this clearance was not given for. ``recipients`` may be some of those permitted. Raises ClearanceVoid."""
        if policy_digest != self.policy.digest:
            raise _void("policy", f"decided under policy {self.policy.digest}, in force is {policy_digest}")
        if directory_version != self.directory_version:
            raise _void("directory", f"decided under directory version {self.directory_version}, in force is {directory_version}")
        if at > self.ends:
            raise _void("time", f"the clearance ended {self.ends}")
        if metadata_digest != self.metadata_digest:
            raise _void("metadata", f"the clearance is for {self.metadata_digest}, not {metadata_digest}")
        others = sorted(set(recipients) - self.recipients)
        if others or not recipients:
            raise _void("recipients", f"the clearance does not name {', '.join(others) or 'an empty list'}")


def _void(subject: Subject, message: str) -> ClearanceVoid:
    return ClearanceVoid(message, subject=subject)


Verdict = Clearance | Hold | Refusal
