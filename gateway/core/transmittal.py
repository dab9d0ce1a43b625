"""The transmittal 交换单: the signed, readable cover of an exchange (docs/format.md, Transmittal).

Relays see this and nothing more. A value of this type satisfies every rule that can be judged from the transmittal alone; whether its
signature, certificates and directory hold is judged by the checks on arrival.
"""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import Annotated, Literal

import msgspec

from crypto.errors import Malformed, RemoteError
from crypto.suites import SuiteId, suite_named
from gateway.core.canonical import DigestText, ExchangeId, GatewayId, Natural, OrgCode, TimeText, Wire, parse_time, version
from gateway.core.document import LevelId, UrgencyId

TransmittalKind = Literal["document", "withdraw", "void", "urge", "supplement", "feedback"]
Role = Literal["primary", "copy", "guard"]

MAX_RECIPIENTS = 1_000  # what fits MAX_WIRE_BYTES with room to spare
MAX_REFS = 16  # exchanges one exchange may refer to; a notice has one
MAX_CONTENT_BYTES = 68_719_476_704  # 2^36 - 32: what one AES-GCM or SM4-GCM nonce may encrypt (NIST SP 800-38D 5.2.1.1)

_WITH_CONTENT = frozenset({"document", "supplement", "feedback"})
_TO_THE_SAME = frozenset({"withdraw", "void", "urge"})

PolicyId = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([a-z0-9._/-]{0,98}[a-z0-9])?\Z")]


class NotEntitled(RemoteError):
    """A signed statement by somebody who may not make it. It changes no state; it is a leaf and an alarm."""

    code = "not-entitled"


class Sender(Wire, frozen=True, kw_only=True):
    """Who sends: the organisation answers for it, the gateway carries it."""

    gateway: GatewayId
    org: OrgCode


class Recipient(Wire, frozen=True, kw_only=True):
    """One addressee. ``envelope`` is the digest of its envelope.p7m, null where there is no content to open."""

    envelope: DigestText | None
    org: OrgCode
    role: Role


class ContentRef(Wire, frozen=True, kw_only=True):
    """What commits to the content: the digest of the manifest, and digest and size of the ciphertext without its tag."""

    manifest: DigestText
    sealed: DigestText
    size: Annotated[int, msgspec.Meta(ge=1, le=MAX_CONTENT_BYTES)]


class PolicyRef(Wire, frozen=True, kw_only=True):
    """The policy a decision was made under."""

    digest: DigestText
    id: PolicyId
    version: Natural


class DirectoryRef(Wire, frozen=True, kw_only=True):
    """The directory a decision was made under; ``digest`` is of its head's bytes."""

    digest: DigestText
    version: Natural


class Transmittal(Wire, frozen=True, kw_only=True):
    """The signed cover of one exchange."""

    content: ContentRef | None
    created: TimeText
    directory: DirectoryRef
    expires: TimeText
    id: ExchangeId
    kind: TransmittalKind
    level: LevelId
    policy: PolicyRef
    recipients: Annotated[tuple[Recipient, ...], msgspec.Meta(min_length=1, max_length=MAX_RECIPIENTS)]
    refs: Annotated[tuple[ExchangeId, ...], msgspec.Meta(max_length=MAX_REFS)]
    sender: Sender
    suite: SuiteId
    urgency: UrgencyId
    v: Literal["yizhan-transmittal/1"] = version("yizhan-transmittal/1")

    def __post_init__(self) -> None:
        _check_order(self)
        _check_content(self)
        _check_refs(self)
        if parse_time(self.expires) <= parse_time(self.created):
            raise Malformed("a transmittal expires before it was created")

    @property
    def created_at(self) -> datetime:
        """The moment the sender says it made this."""
        return parse_time(self.created)

    @property
    def expires_at(self) -> datetime:
        """The last moment at which a recipient may accept it."""
        return parse_time(self.expires)

    def recipient(self, org: str) -> Recipient | None:
        """The entry of that organisation, if it is addressed."""
        return next((recipient for recipient in self.recipients if recipient.org == org), None)


def _check_order(transmittal: Transmittal) -> None:
    orgs = [recipient.org for recipient in transmittal.recipients]
    if any(left >= right for left, right in pairwise(orgs)):
        raise Malformed("recipients are not distinct and sorted")
    if transmittal.sender.org in orgs:
        raise Malformed("the sender is among its recipients")


def _check_content(transmittal: Transmittal) -> None:
    """Content, envelopes and kind belong together; every digest the reader must compute is of the suite."""
    content = transmittal.content
    if (content is not None) != (transmittal.kind in _WITH_CONTENT):
        raise Malformed(f"content does not fit the kind {transmittal.kind}")
    if content is None:
        if any(recipient.envelope is not None for recipient in transmittal.recipients):
            raise Malformed("an envelope without content")
        return
    prefix = suite_named(transmittal.suite).digest + ":"
    for text in (content.manifest, content.sealed, *(recipient.envelope for recipient in transmittal.recipients)):
        if text is None or not text.startswith(prefix):
            raise Malformed("an envelope is missing, or a digest is not of the suite")


def _check_refs(transmittal: Transmittal) -> None:
    refs = transmittal.refs
    if len(set(refs)) != len(refs) or transmittal.id in refs:
        raise Malformed("refs are not distinct, or name the exchange itself")
    if transmittal.kind != "document" and not refs:
        raise Malformed(f"a {transmittal.kind} without the exchange it is about")


def check_notice(notice: Transmittal, original: Transmittal) -> None:
    """Whether this notice may be made about that exchange (docs/format.md, Notices). Raises NotEntitled."""
    if original.id not in notice.refs[:1]:
        raise NotEntitled("the notice is about another exchange", exchange=original.id)
    addressed = {recipient.org for recipient in original.recipients}
    named = {recipient.org for recipient in notice.recipients}
    if notice.kind == "feedback":
        if notice.sender.org not in addressed:
            raise NotEntitled("feedback by an organisation that was not addressed", org=notice.sender.org)
        return
    if notice.sender.org != original.sender.org:
        raise NotEntitled(f"a {notice.kind} by another than the sender", org=notice.sender.org)
    if notice.kind in _TO_THE_SAME and not named <= addressed:
        raise NotEntitled(f"a {notice.kind} to an organisation that was not addressed", orgs=sorted(named - addressed))
    if notice.kind == "supplement" and named & addressed:
        raise NotEntitled("a supplement to an organisation that was addressed already", orgs=sorted(named & addressed))
