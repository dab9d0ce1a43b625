"""The audit leaves of the journey: every step says the same things in the same places. No title, name or free text ever stands here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from gateway.core.canonical import format_time
from gateway.core.document import Document
from gateway.core.explain import Reason
from gateway.core.leaf import Actor, Leaf, LeafKind
from gateway.core.policy import MODES, Clearance, Hold, Mode, Verdict
from gateway.core.receipt import Receipt
from gateway.core.transmittal import DirectoryRef, PolicyRef, Transmittal
from gateway.flow.standing import Standing

_NOT_OF_A_WORD = re.compile(r"[^a-z0-9.-]")


class Leaves:
    """Makes leaves in the name of this gateway, under its present policy and directory."""

    def __init__(self, standing: Standing) -> None:
        self._standing = standing

    def leaf(self, kind: LeafKind, at: datetime, outcome: str, **fields: Any) -> Leaf:
        """A leaf of that kind by the gateway itself, unless ``actor`` says otherwise."""
        fields.setdefault("actor", Actor(id=self._standing.gateway, role="gateway", auth="self"))
        return Leaf(kind=kind, at=format_time(at), outcome=outcome, **fields)

    def offer_refused(self, at: datetime, reasons: Sequence[Reason]) -> Leaf:
        """What the office offered never became an exchange."""
        return self.leaf(LeafKind.REFUSED, at, "refused", reason=_code(reasons), policy=self._policy(), src=self._standing.organisation)

    def decided(self, at: datetime, exchange: str, document: Document, verdict: Verdict, recipients: Sequence[str]) -> Leaf:
        """Policy's word about an offer."""
        kind = LeafKind.TAKEN if isinstance(verdict, Clearance) else LeafKind.HELD if isinstance(verdict, Hold) else LeafKind.REFUSED
        return self.leaf(
            kind,
            at,
            kind.value,
            exchange=exchange,
            level=document.level,
            reason=under_grace(verdict.graces) if isinstance(verdict, Clearance) else _code(verdict.reasons),
            recipient=recipients[0] if len(recipients) == 1 else None,
            policy=self._policy(),
            directory=self._directory(),
            src=self._standing.organisation,
        )

    def redecided(self, at: datetime, exchange: str, verdict: Verdict) -> Leaf:
        """Policy or directory changed before the seal, and the answer with it."""
        kind = LeafKind.HELD if isinstance(verdict, Hold) else LeafKind.REFUSED
        return self.leaf(
            kind, at, kind.value, exchange=exchange, reason=_code(verdict.reasons), policy=self._policy(), directory=self._directory()
        )

    def sealed(self, at: datetime, transmittal: Transmittal, digest: str, graces: Iterable[Mode] = ()) -> Leaf:
        """Signed, timestamped, encrypted."""
        return self._of_transmittal(LeafKind.SEALED, at, "sealed", transmittal, digest, reason=under_grace(graces))

    def arrived(self, kind: LeafKind, at: datetime, transmittal: Transmittal, digest: str, reasons: Sequence[Reason] = ()) -> Leaf:
        """What became of an arrival: accepted, refused, quarantined, held, contradicted."""
        return self._of_transmittal(
            kind,
            at,
            kind.value,
            transmittal,
            digest,
            reason=_code(reasons) if reasons else None,
            dst=self._standing.organisation,
            sender=transmittal.sender.org,
        )

    def accepted(self, at: datetime, transmittal: Transmittal, digest: str, graces: Iterable[Mode]) -> Leaf:
        """An arrival that is good, whatever had to be forgiven for it."""
        fields = {"reason": under_grace(graces), "dst": self._standing.organisation}
        return self._of_transmittal(LeafKind.ACCEPTED, at, "accepted", transmittal, digest, **fields)

    def rejected(self, at: datetime, peer: str, code: str) -> Leaf:
        """A request of a peer that was answered by a problem."""
        return self.leaf(LeafKind.REFUSED, at, "problem", reason=code, src=peer)

    def receipt(
        self,
        kind: LeafKind,
        at: datetime,
        receipt: Receipt,
        digest: str,
        outcome: str,
        reason: str | None = None,
        actor: Actor | None = None,
        sender: str | None = None,
    ) -> Leaf:
        """A receipt, ours or another's; ``actor`` where a person had it issued, ``sender``: who sent the arrival it is about."""
        acting = {} if actor is None else {"actor": actor}
        return self.leaf(
            kind,
            at,
            outcome,
            exchange=receipt.exchange,
            recipient=receipt.recipient,
            object=digest,
            reason=reason or (receipt.reason.code if receipt.reason else None),
            sender=sender,
            src=receipt.by.gateway,
            **acting,
        )

    def _of_transmittal(self, kind: LeafKind, at: datetime, outcome: str, transmittal: Transmittal, digest: str, **fields: Any) -> Leaf:
        only = transmittal.recipients[0].org if len(transmittal.recipients) == 1 else None
        return self.leaf(
            kind,
            at,
            outcome,
            exchange=transmittal.id,
            recipient=only,
            object=digest,
            size=transmittal.content.size if transmittal.content else None,
            level=transmittal.level,
            src=transmittal.sender.org,
            policy=self._policy(),
            directory=transmittal.directory,
            **fields,
        )

    def _policy(self) -> PolicyRef:
        policy = self._standing.policy
        return PolicyRef(id=policy.id, version=policy.version, digest=policy.digest)

    def _directory(self) -> DirectoryRef:
        return DirectoryRef(version=self._standing.directory.version, digest=self._standing.directory.digest)


def _code(reasons: Sequence[Reason]) -> str:
    return word(reasons[0].rule) if reasons else "unspecified"


def under_grace(modes: Iterable[Mode]) -> str | None:
    """How a leaf says what a decision was forgiven; nothing where it was forgiven nothing."""
    forgiven = [mode for mode in MODES if mode in set(modes)]
    return word(".".join(["grace", *forgiven])) if forgiven else None


def word(rule: str) -> str:
    """A rule id as a leaf or receipt spells it (core.receipt.ReasonCode): without the slash that groups rules for people, or what else a
    policy file may have put into a name.
    """
    return _NOT_OF_A_WORD.sub("-", rule.lower().replace("/", "."))[:64].strip(".-") or "unspecified"
