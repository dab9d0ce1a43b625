"""The exchange directory 交换目录: who there is, in which zone, behind which gateways, with which certificates (docs/format.md, Directory).

A signed head names every entry by digest, so an entry is fetched once and a change costs one entry and one head. Roots, the directory
authority's certificate and each zone's ceiling are local configuration: the directory cannot widen what this gateway trusts.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from functools import cached_property
from itertools import pairwise
from typing import Annotated, ClassVar, Literal, TypeVar

import msgspec

from crypto.certificates import Certificate, ChainCache, Purpose
from crypto.digests import digest
from crypto.errors import Malformed, RemoteError, Unverified
from crypto.signed_data import SignedData
from crypto.suites import DigestName, Suite, SuiteId
from gateway.core.canonical import DigestText, GatewayId, OrgCode, TimeText, Wire, format_time, parse_time, version
from gateway.core.document import LevelId
from gateway.core.organisation import check_code

MAX_HEAD_BYTES = 4 * 1024 * 1024  # 20,000 entries of about 150 bytes
MAX_ENTRIES = 20_000  # a province has a few thousand agencies
MAX_ENTRY_BYTES = 64 * 1024  # an organisation with all its certificates
MAX_CERTIFICATES = 8  # of one purpose: both suites, each with its successor
MAX_CERTIFICATE_TEXT = 8 * 1024  # base64 of a certificate: ours have 1 KiB
MAX_SERVED = 1_000  # organisations behind one gateway
CLOCK_SKEW = timedelta(minutes=1)

_T = TypeVar("_T")

CertificateText = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_CERTIFICATE_TEXT)]  # base64 of the DER
CertificateTexts = Annotated[tuple[CertificateText, ...], msgspec.Meta(max_length=MAX_CERTIFICATES)]
ZoneId = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?\Z")]
EntryId = Annotated[str, msgspec.Meta(pattern=r"^(organisation|gateway|authority)/[A-Za-z0-9.-]{1,64}\Z")]
Fingerprint = Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]
VerifierKey = Annotated[str, msgspec.Meta(max_length=300, pattern=r"^[!-*,-~]+\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+\Z")]
HttpsUrl = Annotated[str, msgspec.Meta(pattern=r"^https://[!-~]{1,240}\Z")]


class DirectoryError(RemoteError):
    """The directory, or what is asked of it, does not hold."""

    code = "directory"


class Older(DirectoryError):
    """A version below the one in force. Facts: ``version``, ``known``."""

    code = "directory-older"


class Equivocation(DirectoryError):
    """One version with two contents, both signed: the one in force stays, and people must be told. Facts: ``version``, ``known``, ``found``."""

    code = "directory-equivocation"


class DirectoryExpired(DirectoryError):
    """The directory's time is over, or has not come. Facts: ``issued``, ``expires``, ``now``."""

    code = "directory-expired"


class NotListed(DirectoryError):
    """The directory knows no organisation, gateway or usable certificate of that name. Fact: ``id``."""

    code = "not-listed"


# ---- wire ------------------------------------------------------------------------------------------------------------------------


class EntryRef(Wire, frozen=True, kw_only=True):
    """An entry by name and digest."""

    digest: DigestText
    id: EntryId


class DirectoryHead(Wire, frozen=True, kw_only=True):
    """What the directory authority signs."""

    MAX_BYTES: ClassVar[int] = MAX_HEAD_BYTES

    entries: Annotated[tuple[EntryRef, ...], msgspec.Meta(max_length=MAX_ENTRIES)]
    expires: TimeText
    issued: TimeText
    prev: DigestText | None
    v: Literal["yizhan-directory/1"] = version("yizhan-directory/1")
    version: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]

    def __post_init__(self) -> None:
        if any(left.id >= right.id for left, right in pairwise(self.entries)):
            raise Malformed("directory entries are not distinct and sorted")
        if parse_time(self.expires) <= parse_time(self.issued):
            raise Malformed("a directory expires before it was issued")
        if (self.prev is None) != (self.version == 1):
            raise Malformed("only the first version has no predecessor")


class Names(Wire, frozen=True, kw_only=True):
    """How people call an organisation; ``en`` may be empty."""

    en: Annotated[str, msgspec.Meta(max_length=200)]
    zh: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class OrganisationEntry(Wire, frozen=True, kw_only=True):
    """One organisation. Certificates stand in order of preference, the current one of a suite before its predecessors."""

    MAX_BYTES: ClassVar[int] = MAX_ENTRY_BYTES

    code: OrgCode
    encryption: CertificateTexts
    highest_level: LevelId
    names: Names
    signing: CertificateTexts
    suites: Annotated[tuple[SuiteId, ...], msgspec.Meta(min_length=1, max_length=2)]
    v: Literal["yizhan-organisation/1"] = version("yizhan-organisation/1")
    zone: ZoneId

    def __post_init__(self) -> None:
        check_code(self.code)
        _require_sorted(self.suites)

    @property
    def entry_id(self) -> str:
        """The name the head lists it under."""
        return f"organisation/{self.code}"


class GatewayLink(Wire, frozen=True, kw_only=True):
    """One way to reach a gateway."""

    kind: Literal["https"]
    url: HttpsUrl


class GatewayEntry(Wire, frozen=True, kw_only=True):
    """One gateway: whom it serves, how it is reached, which TLS certificates and log keys are its own."""

    MAX_BYTES: ClassVar[int] = MAX_ENTRY_BYTES

    id: GatewayId
    links: Annotated[tuple[GatewayLink, ...], msgspec.Meta(max_length=8)]
    log_keys: Annotated[tuple[VerifierKey, ...], msgspec.Meta(max_length=16)]
    organisations: Annotated[tuple[OrgCode, ...], msgspec.Meta(max_length=MAX_SERVED)]
    tls: Annotated[tuple[Fingerprint, ...], msgspec.Meta(max_length=MAX_CERTIFICATES)]
    v: Literal["yizhan-gateway/1"] = version("yizhan-gateway/1")

    def __post_init__(self) -> None:
        _require_sorted(self.organisations)

    @property
    def entry_id(self) -> str:
        """The name the head lists it under."""
        return f"gateway/{self.id}"

    @property
    def tls_uri(self) -> str:
        """The SAN URI its TLS certificates carry."""
        return f"urn:yizhan:gateway:{self.id}"


class AuthorityEntry(Wire, frozen=True, kw_only=True):
    """One time-stamping authority."""

    MAX_BYTES: ClassVar[int] = MAX_ENTRY_BYTES

    certificates: CertificateTexts
    id: GatewayId
    kind: Literal["time"]
    v: Literal["yizhan-authority/1"] = version("yizhan-authority/1")

    @property
    def entry_id(self) -> str:
        """The name the head lists it under."""
        return f"authority/{self.id}"


Entry = OrganisationEntry | GatewayEntry | AuthorityEntry
_ENTRY_TYPES: dict[str, type[OrganisationEntry | GatewayEntry | AuthorityEntry]] = {
    "organisation": OrganisationEntry,
    "gateway": GatewayEntry,
    "authority": AuthorityEntry,
}


def _require_sorted(values: tuple[str, ...]) -> None:
    if any(left >= right for left, right in pairwise(values)):
        raise Malformed("values are not distinct and sorted")


def certificate_text(certificate: Certificate) -> str:
    """How an entry spells a certificate."""
    return base64.b64encode(certificate.der).decode()


def parse_certificate_text(text: str) -> Certificate:
    """The certificate an entry spells. Raises Malformed."""
    try:
        der = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("a certificate that is not base64") from error
    if base64.b64encode(der).decode() != text:
        raise Malformed("a certificate in another base64 spelling")
    return Certificate.from_der(der)


def make_head(
    *, version: int, prev: str | None, issued: datetime, expires: datetime, entries: Collection[Entry], digest_name: DigestName
) -> DirectoryHead:
    """The head over these entries, ready to be signed by the directory authority."""
    refs = [EntryRef(id=entry.entry_id, digest=digest(digest_name, entry.to_bytes())) for entry in entries]
    return DirectoryHead(
        version=version,
        prev=prev,
        issued=format_time(issued),
        expires=format_time(expires),
        entries=tuple(sorted(refs, key=lambda ref: ref.id)),
    )


# ---- the directory in use --------------------------------------------------------------------------------------------------------


class Directory:
    """A verified directory. Made only by ``open`` and ``reopen``; certificates are read when first asked for, and remembered."""

    def __init__(self, head: DirectoryHead, head_digest: str, entries: tuple[Entry, ...], authority: Certificate) -> None:
        self.head = head
        self.authority = authority
        self.version = head.version
        self.digest = head_digest
        self.issued = parse_time(head.issued)
        self.expires = parse_time(head.expires)
        self._organisations = {entry.code: entry for entry in entries if isinstance(entry, OrganisationEntry)}
        self._gateways = {entry.id: entry for entry in entries if isinstance(entry, GatewayEntry)}
        self._authorities = {entry.id: entry for entry in entries if isinstance(entry, AuthorityEntry)}
        self._certificates: dict[tuple[str, str, Purpose], tuple[Certificate, ...]] = {}

    @classmethod
    def open(
        cls,
        head: bytes,
        signature: bytes,
        entries: Mapping[str, bytes],
        *,
        chains: ChainCache,
        authority: Certificate,
        now: datetime,
        previous: Directory | None = None,
    ) -> Directory:
        """The directory of these bytes, if it may replace ``previous``.

        1. The head is canonical, and signed by the configured authority, whose chain holds now.
        2. Not older than ``previous``; the same version is the same head; the next version names it as its predecessor.
        3. In force now.
        4. Every entry is here, has its digest, and is what its name says.
        Raises Malformed, Unverified, Older, Equivocation, DirectoryExpired; CrlStale where our own revocation lists are.
        """
        # 1. signature
        parsed = DirectoryHead.from_bytes(head)
        signed = SignedData.from_der(signature)
        if signed.certificate != authority:
            raise Unverified("the directory is signed by another than the configured authority", check="directory-authority")
        signed.verify(head)
        chains.verify(authority, at=now, now=now, purpose=Purpose.DIRECTORY)
        # 2. succession
        algorithm = signed.suite.digest
        head_digest = digest(algorithm, head)
        if previous is not None:
            _check_succession(parsed, head_digest, previous)
        # 3. time
        if not parse_time(parsed.issued) - CLOCK_SKEW <= now < parse_time(parsed.expires):
            raise DirectoryExpired("the directory is not in force", issued=parsed.issued, expires=parsed.expires, now=now)
        # 4. entries
        return cls(parsed, head_digest, tuple(_entry(ref, entries, algorithm) for ref in parsed.entries), authority)

    @classmethod
    def reopen(cls, head: bytes, signature: bytes, entries: Mapping[str, bytes], *, authority: Certificate) -> Directory:
        """A directory that ``open`` verified before and we kept: its bytes are checked as there, its time and its authority's chain are not.

        Whoever reads it asks ``check_in_force`` each time it acts by it. Raises Malformed, Unverified.
        """
        parsed = DirectoryHead.from_bytes(head)
        signed = SignedData.from_der(signature)
        if signed.certificate != authority:
            raise Unverified("the directory is signed by another than the configured authority", check="directory-authority")
        signed.verify(head)
        algorithm = signed.suite.digest
        return cls(parsed, digest(algorithm, head), tuple(_entry(ref, entries, algorithm) for ref in parsed.entries), authority)

    def check_in_force(self, chains: ChainCache, now: datetime, grace: timedelta = timedelta(0)) -> None:
        """Raises DirectoryExpired; CrlStale, Unverified where its authority is no longer to be believed.

        ``grace``: for so long past its end policy lets it count.
        """
        if not self.issued - CLOCK_SKEW <= now < self.expires and not (grace and self.expires <= now <= self.expires + grace):
            raise DirectoryExpired("the directory is not in force", issued=self.head.issued, expires=self.head.expires, now=now)
        chains.verify(self.authority, at=now, now=now, purpose=Purpose.DIRECTORY)

    # ---- names ---------------------------------------------------------------------------------------------------------------------

    def organisation(self, code: str) -> OrganisationEntry:
        """The organisation of that code. Raises NotListed."""
        return _listed(self._organisations, code, "organisation")

    def gateway(self, gateway_id: str) -> GatewayEntry:
        """The gateway of that id. Raises NotListed."""
        return _listed(self._gateways, gateway_id, "gateway")

    @cached_property
    def organisations(self) -> tuple[OrganisationEntry, ...]:
        """Every organisation, by code."""
        return tuple(self._organisations.values())

    @cached_property
    def time_authorities(self) -> tuple[AuthorityEntry, ...]:
        """Every time-stamping authority, by id."""
        return tuple(self._authorities.values())

    @cached_property
    def _gateways_by_org(self) -> dict[str, tuple[GatewayEntry, ...]]:
        found: dict[str, tuple[GatewayEntry, ...]] = {}
        for gateway in self._gateways.values():
            for org in gateway.organisations:
                found[org] = (*found.get(org, ()), gateway)
        return found

    def gateways_of(self, org: str) -> tuple[GatewayEntry, ...]:
        """The gateways that serve this organisation, by id; empty when none does."""
        return self._gateways_by_org.get(org, ())

    def tls_fingerprints(self, gateway_id: str) -> frozenset[str] | None:
        """The TLS certificates listed for that gateway; None when there is no such gateway."""
        entry = self._gateways.get(gateway_id)
        return None if entry is None else frozenset(entry.tls)

    # ---- certificates --------------------------------------------------------------------------------------------------------------

    def signing_certificates(self, org: str, suite: Suite) -> tuple[Certificate, ...]:
        """What this organisation may sign with in that suite. Raises NotListed for an unknown organisation."""
        return self._of(org, suite, Purpose.SIGN)

    def signing_fingerprints(self, org: str, suite: Suite) -> frozenset[str]:
        """The same by fingerprint."""
        return frozenset(certificate.fingerprint for certificate in self.signing_certificates(org, suite))

    def encryption_certificates(self, org: str, suite: Suite) -> tuple[Certificate, ...]:
        """What may be encrypted to for this organisation in that suite, the current one first. Raises NotListed."""
        return self._of(org, suite, Purpose.ENCRYPT)

    def encryption_certificate(self, org: str, suite: Suite) -> Certificate:
        """The current one. Raises NotListed when it has none of that suite."""
        certificates = self.encryption_certificates(org, suite)
        if not certificates:
            raise NotListed(f"{org} has no encryption certificate of suite {suite.id}", id=org, suite=suite.id)
        return certificates[0]

    def time_authority_fingerprints(self, suite: Suite, allowed: Collection[str] | None = None) -> frozenset[str]:
        """Certificates of that suite of the time authorities with these ids; of all of them for None."""
        return frozenset(
            certificate.fingerprint
            for authority, certificates in self._authority_certificates.items()
            if allowed is None or authority in allowed
            for certificate in certificates
            if certificate.suite is suite
        )

    @cached_property
    def _authority_certificates(self) -> dict[str, tuple[Certificate, ...]]:
        return {entry.id: _readable(entry.certificates) for entry in self._authorities.values()}

    def _of(self, org: str, suite: Suite, purpose: Purpose) -> tuple[Certificate, ...]:
        """A certificate counts only if it can be read, is listed for the organisation and its subject carries the organisation's code."""
        key = (org, suite.id, purpose)
        if key not in self._certificates:
            entry = self.organisation(org)
            listed = _readable(entry.signing if purpose is Purpose.SIGN else entry.encryption)
            self._certificates[key] = tuple(
                certificate
                for certificate in listed
                if certificate.suite is suite and suite.id in entry.suites and certificate.organisation == org
                if (certificate.may_sign if purpose is Purpose.SIGN else certificate.may_encrypt)
            )
        return self._certificates[key]


def _readable(texts: Collection[str]) -> tuple[Certificate, ...]:
    """The certificates that can be read."""
    # One that cannot is the directory's fault. Raised while an arrival is judged it would pass for a fault of that arrival, and one bad
    # entry of a time authority would turn every sender's documents away for good.
    found = []
    for text in texts:
        try:
            found.append(parse_certificate_text(text))
        except Malformed:
            continue
    return tuple(found)


def _check_succession(head: DirectoryHead, head_digest: str, previous: Directory) -> None:
    if head.version < previous.version:
        raise Older("an older directory than the one in force", version=head.version, known=previous.version)
    same = head.version == previous.version and head_digest != previous.digest
    fork = head.version == previous.version + 1 and head.prev != previous.digest
    if same or fork:
        raise Equivocation("two contents of one directory version", version=head.version, known=previous.digest, found=head_digest)


def _entry(ref: EntryRef, entries: Mapping[str, bytes], algorithm: DigestName) -> Entry:
    data = entries.get(ref.digest)
    if data is None:
        raise DirectoryError(f"the directory's entry {ref.id} is missing", id=ref.id, digest=ref.digest)
    if digest(algorithm, data) != ref.digest:
        raise Unverified(f"directory entry {ref.id} has another digest", check="directory-entry", id=ref.id)
    entry = _ENTRY_TYPES[ref.id.partition("/")[0]].from_bytes(data)
    if entry.entry_id != ref.id:
        raise Unverified(f"directory entry {ref.id} calls itself {entry.entry_id}", check="directory-entry", id=ref.id)
    return entry


def _listed(found: Mapping[str, _T], name: str, what: str) -> _T:
    try:
        return found[name]
    except KeyError:
        raise NotListed(f"the directory knows no {what} {name[:80]!r}", id=name[:80]) from None
