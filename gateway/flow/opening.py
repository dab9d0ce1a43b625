"""Opening: twelve checks, in one order, between bytes from the network and a document we answer for.

Before the first content byte (``examine``)
 1. sizes, canonical parse, exact fields
 2. the TLS peer is the sender's gateway (or a relay the directory lets carry for it)
 3. the directory version named is here and in force; the gateway serves the sender; the recipients are ours, with these envelopes
 4. nro.p7s is of the closed profile; its certificate is listed for the sender, for signing, in the suite; the signature holds
 5. the token is over this signature, by an authority our policy allows; it gives T, close to ``created`` and not in our future
 6. the chain at T under our own roots, with CRLs fresh today; revoked at or before T is refused, later is held
 7. created, expires and now fit together
 8. our own policy on what the transmittal says
Then (by the caller, in the journal) 9. nothing else was ever signed under this key.
On the content (``open_content``)
10. size and digest of the ciphertext
11. unwrap, tag, manifest digest and its equalities, exact ZIP, part digests
12. policy again on what was found

What the sender signed and does not hold is ``Refused`` and answered with a signed receipt. What a hop could have caused is a
``ProblemError`` and never ends an exchange.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from crypto.certificates import ChainCache, CrlStale, Purpose, Revoked
from crypto.content_cipher import ContentDecryptor, ContentKey
from crypto.digests import Hasher, digest
from crypto.envelopes import open_envelope
from crypto.errors import Malformed, RemoteError, Unverified
from crypto.signed_data import SignedData
from crypto.suites import Suite, suite_named
from crypto.timestamps import verify_token
from gateway.core.canonical import parse_time
from gateway.core.content import ContentReader, ManifestRead, PartData, PartEnded, PartStarted
from gateway.core.cover import Cover
from gateway.core.directory import Directory, DirectoryError
from gateway.core.document import Document
from gateway.core.errors import ProblemError
from gateway.core.explain import Reason, explain
from gateway.core.keys import arrival_key
from gateway.core.manifest import Manifest, PartEntry
from gateway.core.policy import Clearance, Hold, Lapse, PartFacts, Party, Policy, Question, Refusal, Verdict, decide, decide_parts
from gateway.core.transmittal import Transmittal
from gateway.flow.standing import Standing

CLOCK_TOLERANCE = timedelta(minutes=1)  # what two honest clocks may differ by
STAMP_WINDOW = timedelta(minutes=10)  # a signature is stamped within this time of its creation
SUPERSEDED_GRACE = timedelta(days=7)  # as long as a revocation list lives: a gateway that could fetch neither for longer is not heard
KEEP_OPENED = 1024 * 1024  # plaintext up to here stays in memory until the hand-over; larger is decrypted again


class Refused(RemoteError):
    """The sender signed something that may not be accepted: final, answered with a signed receipt. Fact: ``reasons``."""

    code = "refused"


class HeldBack(RemoteError):
    """What was found in the content calls for a person. Fact: ``reasons``."""

    code = "held-back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """A transmittal whose checks 1 to 8 hold; its content has not been looked at."""

    transmittal: Transmittal
    transmittal_bytes: bytes
    digest: str
    suite: Suite
    nro: bytes
    stamped_at: datetime
    directory: Directory
    envelopes: tuple[tuple[str, bytes], ...]
    clearance: Clearance | None  # None: something calls for a person (``hold``)
    hold: tuple[Reason, ...] = ()
    refusal: tuple[Reason, ...] = ()  # not empty: signed for, and not acceptable
    judged: tuple[Policy, datetime] | None = None  # by which policy, at which moment

    @property
    def key(self) -> str:
        """What the exchange is known by here: check 9 asks whether anything else was signed under it."""
        return arrival_key(self.transmittal.id, self.transmittal.sender.org)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The only thing that exposes plaintext: every check held."""

    manifest: Manifest
    key: ContentKey
    parts: tuple[tuple[PartEntry, bytes], ...] | None  # None when too large to keep: decrypt again
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Warm:
    """An accepted exchange on its way to the office: what was opened, under which transmittal, and our last receipt about it."""

    document: Document
    key: ContentKey
    parts: tuple[tuple[PartEntry, bytes], ...] | None  # None: decrypt again
    transmittal: Transmittal
    transmittal_digest: str
    received: datetime
    last_receipt: str
    name: str  # in the office


@dataclass(slots=True)
class _Watch:
    """What is being gathered while content streams through."""

    manifest: Manifest | None = None
    kept: list[tuple[PartEntry, list[bytes]]] = field(default_factory=list)
    keep: bool = True


def examine(cover: Cover, peer: str, standing: Standing, now: datetime) -> Examined:
    """Checks 1 to 8. Raises ProblemError for what a hop may have caused; a refusal the sender signed for is in the answer."""
    # 1. sizes, canonical parse, exact fields
    try:
        transmittal = Transmittal.from_bytes(cover.transmittal)
        nro = SignedData.from_der(cover.nro)
    except Malformed as error:
        raise damaged(error, retryable=not _signed_as_it_is(cover, peer, standing.directory)) from error
    suite = suite_named(transmittal.suite)
    # 2. the TLS peer carries for the sender's gateway
    if peer != transmittal.sender.gateway:
        raise ProblemError("not-carrier", f"{peer} may not carry for {transmittal.sender.gateway}", retryable=True)
    # 3. directory, recipients, envelopes
    chains = standing.chains_at(transmittal.level)
    directory = standing.directory_named(transmittal.directory, now, transmittal.level)
    _check_parties(transmittal, cover, directory, standing, suite)
    # 4. the sender's signature
    _check_signature(transmittal, cover.transmittal, nro, directory, suite)
    # 5. the token
    stamped_at = _check_token(transmittal, nro, standing, chains, directory, suite, now)
    _check_superseded(transmittal, standing, stamped_at)
    # 6. the chain at T
    revoked_later = _check_chain(nro, chains, stamped_at, now)
    # 7. the times
    refusal = _check_times(transmittal, now)
    # 8. our policy on the transmittal
    asked = _question(transmittal, directory, standing, now, stamped=nro.token is not None, lapses=standing.lapses(chains, now, directory))
    verdict = decide(standing.policy, asked)
    if isinstance(verdict, Refusal):
        refusal += verdict.reasons
    hold = (verdict.reasons if isinstance(verdict, Hold) else ()) + revoked_later
    return Examined(
        transmittal=transmittal,
        transmittal_bytes=cover.transmittal,
        digest=digest(suite.digest, cover.transmittal),
        suite=suite,
        nro=cover.nro,
        stamped_at=stamped_at,
        directory=directory,
        envelopes=cover.envelopes,
        clearance=verdict if isinstance(verdict, Clearance) and not hold else None,
        hold=hold,
        refusal=refusal,
        judged=(standing.policy, now),
    )


def open_content(examined: Examined, chunks: Iterator[bytes], standing: Standing, now: datetime) -> Opened:
    """Checks 10 to 12, in one pass over the ciphertext. Raises ProblemError("ciphertext-mismatch"), Refused, HeldBack."""
    content = examined.transmittal.content
    if content is None:
        raise ProblemError("malformed", "a document without content", retryable=False)
    key, failure = _unwrap(examined, standing)
    hasher, size, watch = Hasher(examined.suite.digest), 0, _Watch()
    decryptor = ContentDecryptor(key) if key else None
    reader = ContentReader(examined.suite.digest, content.manifest)
    for chunk in chunks:
        size += len(chunk)
        hasher.update(chunk)
        if failure is None and decryptor is not None:
            failure = _feed(reader, decryptor, chunk, watch)
    # 10. size and digest of the ciphertext: a hop may have damaged it, whatever else went wrong with the plaintext
    if size != content.size or hasher.text() != content.sealed:
        raise ProblemError("ciphertext-mismatch", f"{size} bytes of ciphertext with another digest", retryable=True, size=size)
    # 11. unwrap, tag, manifest and its equalities, exact ZIP, part digests
    try:
        if failure is not None:
            raise failure
        assert decryptor is not None
        assert key is not None
        decryptor.finalize()
        reader.finish()
        if watch.manifest is None:
            raise Malformed("no manifest")
        watch.manifest.check_against(examined.transmittal)
    except RemoteError as error:
        raise Refused(f"content: {error}", reasons=(_content_reason(error),)) from error
    # 12. policy again on what was found
    verdict = _decide_with_parts(examined, watch.manifest, standing, now)
    if isinstance(verdict, Refusal):
        raise Refused("policy refuses what was found in the content", reasons=verdict.reasons)
    if isinstance(verdict, Hold):
        raise HeldBack("policy wants a person to decide about what was found in the content", reasons=verdict.reasons)
    kept = tuple((entry, b"".join(data)) for entry, data in watch.kept) if watch.keep else None
    return Opened(manifest=watch.manifest, key=key, parts=kept, size=size)


def _decide_with_parts(examined: Examined, manifest: Manifest, standing: Standing, now: datetime) -> Verdict | None:
    """Policy's word on what was found; where the same policy cleared the cover at this very moment, only the parts are new to it."""
    asked, policy = _question_with_parts(examined, manifest, standing, now), standing.policy
    if examined.clearance is not None and examined.judged is not None and examined.judged[0] is policy and examined.judged[1] == now:
        return decide_parts(policy, asked)
    return decide(policy, asked)


def _content_reason(error: RemoteError) -> Reason:
    """Why content does not hold; where it is another exchange's, the equality that tells."""
    check = str(error.facts.get("check", ""))
    return explain("content-invalid", rule=f"content-invalid/{check}" if check.startswith("manifest-") else "", detail=str(error))


def reopen(key: ContentKey, chunks: Iterator[bytes], manifest_digest: str, suite: Suite) -> Iterator[PartStarted | PartData | PartEnded]:
    """Decrypt an accepted exchange once more, part by part; raises Unverified where the tag does not hold.

    The digests of the parts held when it was accepted and are not computed again: the tag says that these are the bytes of then. So the
    last part only ends when the tag holds, and what was handed on before may not be shown to anybody.
    """
    decryptor, reader = ContentDecryptor(key), ContentReader(suite.digest, manifest_digest, again=True)
    ended: PartEnded | None = None
    for chunk in chunks:
        for event in reader.feed(decryptor.update(chunk)):
            if isinstance(event, ManifestRead):
                continue
            if ended is not None:
                yield ended
            ended = event if isinstance(event, PartEnded) else None
            if not isinstance(event, PartEnded):
                yield event
    decryptor.finalize()
    reader.finish()
    if ended is not None:
        yield ended


def damaged(error: Malformed, *, retryable: bool = True) -> ProblemError:
    """A cover that is none: whoever carried it may have bent it, so it is asked for again."""
    return ProblemError("malformed", str(error), retryable=retryable, of="cover")


def _signed_as_it_is(cover: Cover, peer: str, directory: Directory) -> bool:
    """Whether somebody behind that gateway signed exactly these bytes: then no hop bent them, and they will never be of the format."""
    try:
        nro = SignedData.from_der(cover.nro)
        served = directory.gateway(peer).organisations
        if all(nro.certificate.fingerprint not in directory.signing_fingerprints(org, nro.suite) for org in served):
            return False
        nro.verify(cover.transmittal)
    except RemoteError:
        return False
    return True


def _check_parties(transmittal: Transmittal, cover: Cover, directory: Directory, standing: Standing, suite: Suite) -> None:
    try:
        directory.organisation(transmittal.sender.org)
        if transmittal.sender.org not in directory.gateway(transmittal.sender.gateway).organisations:
            raise ProblemError("not-carrier", f"{transmittal.sender.gateway} does not serve {transmittal.sender.org}", retryable=True)
    except DirectoryError as error:
        raise ProblemError("not-carrier", str(error), retryable=True) from error
    listed = {recipient.org: recipient.envelope for recipient in transmittal.recipients}
    if transmittal.content is None:
        if cover.envelopes or standing.organisation not in listed:
            raise ProblemError("not-ours", f"{standing.organisation} is not addressed, or by an envelope without content", retryable=True)
        return
    if not cover.envelopes:
        raise ProblemError("not-ours", "no envelope for anybody here", retryable=True)
    for org, envelope in cover.envelopes:
        if org != standing.organisation or org not in listed:
            raise ProblemError("not-ours", f"{org} is not served here", retryable=True)
        if digest(suite.digest, envelope) != listed[org]:
            raise ProblemError("envelope-mismatch", f"the envelope for {org} is not the one signed for", retryable=True)


def _check_signature(transmittal: Transmittal, body: bytes, nro: SignedData, directory: Directory, suite: Suite) -> None:
    listed = directory.signing_fingerprints(transmittal.sender.org, suite)
    if nro.certificate.fingerprint not in listed:
        raise ProblemError("signer-not-listed", f"the certificate is not listed for {transmittal.sender.org}", retryable=True)
    try:
        nro.verify(body)
    except (Unverified, Malformed) as error:
        raise ProblemError("signature-invalid", str(error), retryable=True) from error


def _check_token(
    transmittal: Transmittal, nro: SignedData, standing: Standing, chains: ChainCache, directory: Directory, suite: Suite, now: datetime
) -> datetime:
    handling = standing.policy.handling(transmittal.level)
    if nro.token is None:
        if handling is not None and handling.timestamp_required:
            raise ProblemError("token-missing", "policy asks for a timestamp at this level", retryable=True)
        return now
    allowed = directory.time_authority_fingerprints(suite, handling.authorities if handling else None)
    try:
        stamp = verify_token(nro.token, nro.signature, suite=suite, trust=chains, allowed=allowed, now=now)
    except CrlStale as error:
        raise ProblemError("crl-stale", str(error), retryable=True) from error
    except RemoteError as error:
        raise ProblemError("token-invalid", str(error), retryable=True) from error
    created = parse_time(transmittal.created)
    if stamp.at > now + CLOCK_TOLERANCE:
        raise ProblemError("clock", f"stamped {stamp.at}, here {now}", retryable=True, stamped=stamp.at, now=now)
    if not created - CLOCK_TOLERANCE <= stamp.at <= created + STAMP_WINDOW:
        raise ProblemError("token-time", f"stamped {stamp.at}, created {created}", retryable=True, stamped=stamp.at, created=created)
    return stamp.at


def _check_superseded(transmittal: Transmittal, standing: Standing, stamped_at: datetime) -> None:
    """Whoever was struck off a later version may not go on under the one before; a stamp tells when it was made."""
    since = standing.superseded_at(transmittal.directory.version)
    if since is not None and stamped_at > since + SUPERSEDED_GRACE:
        raise ProblemError(
            "directory-superseded", f"stamped {stamped_at} under a directory superseded at {since}", retryable=True, since=since
        )


def _check_chain(nro: SignedData, chains: ChainCache, at: datetime, now: datetime) -> tuple[Reason, ...]:
    try:
        chain = chains.verify(nro.certificate, at=at, now=now, purpose=Purpose.SIGN)
    except CrlStale as error:
        raise ProblemError("crl-stale", str(error), retryable=True) from error
    except Revoked as error:
        raise ProblemError("revoked", str(error), retryable=False) from error
    except Unverified as error:
        raise ProblemError("chain-invalid", str(error), retryable=True) from error
    if chain.revoked_later is not None:
        return (explain("revoked-later", revoked_at=str(chain.revoked_later)),)
    return ()


def _check_times(transmittal: Transmittal, now: datetime) -> tuple[Reason, ...]:
    created, expires = parse_time(transmittal.created), parse_time(transmittal.expires)
    if created > now + CLOCK_TOLERANCE:
        raise ProblemError("clock", f"created {created}, here {now}", retryable=True, created=created, now=now)
    if now > expires:
        return (explain("expired", expires=transmittal.expires),)
    return ()


def _unwrap(examined: Examined, standing: Standing) -> tuple[ContentKey | None, RemoteError | None]:
    """The content key from the first of our envelopes. An envelope the sender signed that does not open is the sender's failure."""
    failure: RemoteError | None = None
    for unwrapper in standing.unwrappers.get(examined.suite.id, ()):
        try:
            return open_envelope(examined.envelopes[0][1], unwrapper), None
        except RemoteError as error:
            failure = error
    if failure is None:
        raise ProblemError("internal", f"no decryption key of suite {examined.suite.id} here", retryable=True)
    return None, failure


def _feed(reader: ContentReader, decryptor: ContentDecryptor, chunk: bytes, watch: _Watch) -> RemoteError | None:
    try:
        for event in reader.feed(decryptor.update(chunk)):
            _take(event, watch)
    except RemoteError as error:
        return error
    return None


def _take(event: ManifestRead | PartStarted | PartData | PartEnded, watch: _Watch) -> None:
    match event:
        case ManifestRead(manifest=manifest):
            watch.manifest = manifest
            watch.keep = sum(part.size for part in manifest.parts) <= KEEP_OPENED
        case PartStarted(entry=entry) if watch.keep:
            watch.kept.append((entry, []))
        case PartData(data=data) if watch.keep:
            watch.kept[-1][1].append(data)
        case _:
            pass


def party(directory: Directory, org: str) -> Party:
    """What policy needs to know of an organisation. Raises DirectoryError for an unknown one."""
    entry = directory.organisation(org)
    return Party(org=org, zone=entry.zone, highest_level=entry.highest_level, suites=tuple(entry.suites))


def _question(
    transmittal: Transmittal,
    directory: Directory,
    standing: Standing,
    now: datetime,
    *,
    stamped: bool,
    parts: tuple[PartFacts, ...] = (),
    lapses: tuple[Lapse, ...] = (),
) -> Question:
    assert transmittal.content is not None or transmittal.kind != "document"
    return Question(
        kind=transmittal.kind,
        side="receive",
        level=transmittal.level,
        urgency=transmittal.urgency,
        suite=transmittal.suite,
        metadata_digest=transmittal.content.manifest if transmittal.content else "",
        parts=parts,
        size=transmittal.content.size if transmittal.content else 0,
        sender=party(directory, transmittal.sender.org),
        recipients=(party(directory, standing.organisation),),
        at=now,
        created=parse_time(transmittal.created),
        expires=parse_time(transmittal.expires),
        stamped=stamped,
        directory_version=directory.version,
        directory_digest=directory.digest,
        lapses=lapses,
    )


def _question_with_parts(examined: Examined, manifest: Manifest, standing: Standing, now: datetime) -> Question:
    parts = tuple(
        PartFacts(name=part.name, media_type=part.media_type, size=part.size, digest=part.digest, level=part.level)
        for part in manifest.parts
    )
    return _question(examined.transmittal, examined.directory, standing, now, stamped=True, parts=parts)
