"""Sealing: a cleared document becomes a signed, timestamped, encrypted exchange.

``seal`` demands the Clearance only ``policy.decide`` makes. Stages are types: ``Sealed`` has no token and cannot be sent; only ``stamp``
makes a ``Stamped`` of it, after verifying the token over its signature.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from crypto.content_cipher import ContentEncryptor, ContentKey, fresh_content_key
from crypto.digests import Hasher, digest
from crypto.envelopes import make_envelope
from crypto.randomness import random_bytes
from crypto.signed_data import SignedData, sign_detached
from crypto.suites import DigestName, Suite, suite_named
from crypto.timestamps import make_request, token_from_response, verify_token
from gateway.core.canonical import format_time
from gateway.core.content import content_size, zip_chunks
from gateway.core.directory import Directory
from gateway.core.document import Document, LevelId, UrgencyId
from gateway.core.exchange import Direction
from gateway.core.manifest import Manifest, ManifestSender, PartEntry
from gateway.core.policy import Clearance
from gateway.core.step import StoredContent
from gateway.core.transmittal import ContentRef, DirectoryRef, PolicyRef, Recipient, Role, Sender, Transmittal
from gateway.flow.ports import BlobWriter, Held
from gateway.flow.private import bound
from gateway.flow.progress import Progress
from gateway.flow.standing import Standing

INLINE_CONTENT = 64 * 1024  # ciphertext up to here lives in a row; a file and two fsyncs cost more than the bytes (measured)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One part as it was copied from the office: its entry in the manifest and its bytes in scratch."""

    entry: PartEntry
    held: Held


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """All that will be sealed, decided and copied."""

    exchange: str
    document: Document
    level: LevelId
    urgency: UrgencyId
    recipients: tuple[tuple[str, Role], ...]  # (organisation, role), sorted
    copies: tuple[Copy, ...]
    refs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Encrypted:
    """The content in its lasting place; nothing says whose it is yet."""

    manifest: str  # its digest
    content: StoredContent
    digest: str
    key: ContentKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """Signed and encrypted; not yet timestamped."""

    transmittal: Transmittal
    transmittal_bytes: bytes
    transmittal_digest: str
    nro: SignedData
    envelopes: tuple[tuple[str, bytes], ...]
    content: StoredContent
    own_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamped:
    """Signed, encrypted and timestamped (or, where the Clearance asks for no timestamp, complete without): may be sent."""

    sealed: Sealed
    nro: bytes
    stamped_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A stamped exchange with the clearance it may be sent under."""

    stamped: Stamped
    clearance: Clearance
    progress: Progress


def seal(draft: Draft, clearance: Clearance, standing: Standing, at: datetime, new_blob: Callable[[int], BlobWriter]) -> Sealed:
    """Encrypt the content once, wrap its key for each recipient, sign the transmittal.

    Raises ClearanceVoid when the clearance does not cover exactly this draft at this moment; KeyUnusable when our own certificate would
    not be believed (fail closed: no signature, nothing taken); NotInForce, CrlStale, NoRoom, PartChanged.
    """
    _check(draft, clearance, standing, at)
    return _put_seal(_encrypted(draft, clearance.suite, standing, new_blob, lambda: None), draft, clearance, standing, at)


def encrypt(
    draft: Draft,
    clearance: Clearance,
    standing: Standing,
    at: datetime,
    new_blob: Callable[[int], BlobWriter],
    *,
    keep_on: Callable[[], None] = lambda: None,
) -> Encrypted:
    """The part of ``seal`` that takes as long as the content is large; ``keep_on`` may raise between two pieces. Raises what ``seal`` raises."""
    _check(draft, clearance, standing, at)
    return _encrypted(draft, clearance.suite, standing, new_blob, keep_on)


def put_seal(encrypted: Encrypted, draft: Draft, clearance: Clearance, standing: Standing, at: datetime) -> Sealed:
    """The rest of ``seal``: ``at`` is when the transmittal says it was created, and its token must follow within minutes."""
    _check(draft, clearance, standing, at)
    return _put_seal(encrypted, draft, clearance, standing, at)


def _encrypted(
    draft: Draft, suite: Suite, standing: Standing, new_blob: Callable[[int], BlobWriter], keep_on: Callable[[], None]
) -> Encrypted:
    manifest = _manifest(draft, standing).to_bytes()
    content, key, sealed_digest = _encrypt(manifest, draft.copies, suite, new_blob, keep_on)
    return Encrypted(manifest=digest(suite.digest, manifest), content=content, digest=sealed_digest, key=key)


def _put_seal(encrypted: Encrypted, draft: Draft, clearance: Clearance, standing: Standing, at: datetime) -> Sealed:
    suite, directory = clearance.suite, standing.directory
    content, key = encrypted.content, encrypted.key
    envelopes = tuple((org, _envelope(org, key, directory, suite)) for org, _ in draft.recipients)
    transmittal = Transmittal(
        v="yizhan-transmittal/1",
        id=draft.exchange,
        kind="document",
        sender=Sender(org=standing.organisation, gateway=standing.gateway),
        recipients=tuple(
            Recipient(org=org, role=role, envelope=digest(suite.digest, envelope))
            for (org, role), (_, envelope) in zip(draft.recipients, envelopes, strict=True)
        ),
        level=draft.level,
        urgency=draft.urgency,
        suite=suite.id,
        content=ContentRef(manifest=encrypted.manifest, sealed=encrypted.digest, size=content.size),
        created=format_time(at),
        expires=format_time(clearance.expires),
        policy=PolicyRef(id=clearance.policy.id, version=clearance.policy.version, digest=clearance.policy.digest),
        directory=DirectoryRef(version=directory.version, digest=directory.digest),
        refs=draft.refs,
    )
    body = transmittal.to_bytes()
    return Sealed(
        transmittal=transmittal,
        transmittal_bytes=body,
        transmittal_digest=digest(suite.digest, body),
        nro=sign_detached(body, standing.signer(suite), at=at),
        envelopes=envelopes,
        content=content,
        own_key=keep_key(standing, "out", draft.exchange, key),
    )


def _check(draft: Draft, clearance: Clearance, standing: Standing, at: datetime) -> None:
    standing.check_directory(at, clearance.level)
    standing.check_signer(clearance.suite, at, clearance.level)
    clearance.check(
        policy_digest=standing.policy.digest,
        directory_version=standing.directory.version,
        at=at,
        metadata_digest=metadata_digest(draft.document),
        recipients=tuple(org for org, _ in draft.recipients),
    )


_digested: tuple[Document, str] | None = None


def metadata_digest(document: Document) -> str:
    """What a clearance names the metadata by. The document asked for last is remembered: the decision asks, and a moment later its seal."""
    global _digested  # noqa: PLW0603  # one tuple put in the place of another: any thread may
    known = _digested
    if known is None or known[0] is not document:  # a frozen value: the same one spells the same bytes
        known = _digested = document, digest("sha256", document.to_bytes())
    return known[1]


def token_request(sealed: Sealed) -> tuple[bytes, int]:
    """The RFC 3161 request over the signature value (CAdES-T, ETSI EN 319 122-1 5.3) and its nonce."""
    nonce = int.from_bytes(random_bytes(8), "big")
    return make_request(_digest_of(sealed), sealed.nro.signature, nonce=nonce), nonce


def stamp(sealed: Sealed, response: bytes, nonce: int, clearance: Clearance, standing: Standing, now: datetime) -> Stamped:
    """Verify the authority's answer over this signature and attach its token. Raises Unverified, Malformed."""
    token = token_from_response(response)
    stamped = verify_token(
        token,
        sealed.nro.signature,
        suite=clearance.suite,
        trust=standing.chains_at(clearance.level),
        allowed=allowed_authorities(clearance, standing.directory, clearance.suite),
        now=now,
        nonce=nonce,
    )
    return Stamped(sealed=sealed, nro=sealed.nro.with_token(token).der, stamped_at=stamped.at)


def keep_key(standing: Standing, direction: Direction, exchange: str, key: ContentKey) -> bytes:
    """Our own copy of a content key, under the storage key and bound to its exchange and direction."""
    assert key.tag is not None
    return standing.storage_key.seal(key.key + key.nonce + key.tag, bound("own-key", direction, exchange))


def kept_key(standing: Standing, direction: Direction, exchange: str, suite: Suite, own_key: bytes) -> ContentKey:
    """The content key kept by ``keep_key``. Raises Unverified."""
    raw = standing.storage_key.open(own_key, bound("own-key", direction, exchange))
    split = suite.content_key_length
    return ContentKey(suite=suite, key=raw[:split], nonce=raw[split : split + 12], tag=raw[split + 12 :])


def _manifest(draft: Draft, standing: Standing) -> Manifest:
    return Manifest(
        v="yizhan-manifest/1",
        nonce=base64.b64encode(random_bytes(16)).decode(),
        exchange=draft.exchange,
        sender=ManifestSender(org=standing.organisation),
        level=draft.level,
        urgency=draft.urgency,
        document=draft.document,
        parts=tuple(copy.entry for copy in draft.copies),
    )


def _encrypt(
    manifest: bytes, copies: tuple[Copy, ...], suite: Suite, new_blob: Callable[[int], BlobWriter], keep_on: Callable[[], None]
) -> tuple[StoredContent, ContentKey, str]:
    """One pass over the content: ZIP, cipher, digest of the ciphertext."""
    size = content_size(manifest, [(copy.entry, copy.held.crc) for copy in copies])
    key = fresh_content_key(suite)
    cipher, hasher = ContentEncryptor(key), Hasher(suite.digest)
    plain = zip_chunks(manifest, ((copy.entry, copy.held.crc, copy.held.chunks()) for copy in copies))
    sealed = _sealed_chunks(plain, cipher, hasher, keep_on)
    if size <= INLINE_CONTENT:
        content = StoredContent(size=size, inline=b"".join(sealed))
    else:
        content = StoredContent(size=size, blob=_write_blob(sealed, new_blob(size)))
    return content, ContentKey(suite=suite, key=key.key, nonce=key.nonce, tag=cipher.finalize()), hasher.text()


def _sealed_chunks(plain: Iterator[bytes], cipher: ContentEncryptor, hasher: Hasher, keep_on: Callable[[], None]) -> Iterator[bytes]:
    for chunk in plain:
        keep_on()
        sealed = cipher.update(chunk)
        hasher.update(sealed)
        yield sealed


def _write_blob(chunks: Iterator[bytes], blob: BlobWriter) -> str:
    try:
        for chunk in chunks:
            blob.write(chunk)
        return blob.finish()
    except BaseException:
        blob.discard()
        raise


def _envelope(org: str, key: ContentKey, directory: Directory, suite: Suite) -> bytes:
    return make_envelope(key, directory.encryption_certificate(org, suite))


def _digest_of(sealed: Sealed) -> DigestName:
    return suite_named(sealed.transmittal.suite).digest


def allowed_authorities(clearance: Clearance, directory: Directory, suite: Suite) -> frozenset[str]:
    """Fingerprints of the time authorities policy allows here: those it names, of those the directory lists."""
    return directory.time_authority_fingerprints(suite, clearance.allowed_authorities)
