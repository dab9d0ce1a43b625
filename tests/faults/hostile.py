"""What a hostile member can make: objects signed with good keys around anything at all. Only the standing of its own home is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zlib import crc32

from crypto.content_cipher import ContentEncryptor, ContentKey, fresh_content_key
from crypto.digests import digest
from crypto.envelopes import make_envelope
from crypto.randomness import random_bytes
from crypto.signed_data import SignedData, sign_detached
from crypto.suites import Suite, suite_named
from crypto.timestamps import make_request, token_from_response
from gateway.core.canonical import format_time
from gateway.core.content import zip_chunks
from gateway.core.cover import Cover
from gateway.core.document import Document
from gateway.core.ids import uuid7
from gateway.core.manifest import Manifest, ManifestSender, PartEntry
from gateway.core.transmittal import ContentRef, DirectoryRef, PolicyRef, Recipient, Sender, Transmittal
from gateway.flow.ports import TokenSource
from gateway.flow.standing import Standing
from gateway.net.frames import EXCHANGE_TYPE
from gateway.net.time_client import TimeClient

DOCUMENT = Document(
    document_type="通知",
    level="internal",
    urgency="routine",
    issuing_authority_mark="测试市人民政府办公室文件",
    document_number="测府办〔2025〕1号",
    title="攻击测试",
    signature=("测试市人民政府办公室",),
    printing_authority="测试市人民政府办公室",
)


@dataclass(frozen=True)
class Made:
    """One exchange, complete: its id, the cover's bytes, the ciphertext."""

    exchange: str
    cover: bytes
    content: bytes

    def request(self) -> bytes:
        body = self.cover + self.content
        return head("POST", "/v1/exchanges", EXCHANGE_TYPE, len(body)) + body


def head(method: str, path: str, content_type: str, length: int, **more: str) -> bytes:
    fields = {"Host": "x", "Content-Type": content_type, "Content-Length": str(length), **more}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode()


def manifest_of(standing: Standing, exchange: str, parts: tuple[PartEntry, ...]) -> bytes:
    return Manifest(
        nonce="AAAAAAAAAAAAAAAAAAAAAA==",
        exchange=exchange,
        sender=ManifestSender(org=standing.organisation),
        level="internal",
        urgency="routine",
        document=DOCUMENT,
        parts=parts,
    ).to_bytes()


def part_of(body: bytes, suite: Suite, name: str = "正文.pdf") -> PartEntry:
    return PartEntry(
        name=name, role="body", level="internal", media_type="application/pdf", size=len(body), digest=digest(suite.digest, body)
    )


def good_content(standing: Standing, suite: Suite, exchange: str, body: bytes) -> tuple[bytes, bytes]:
    """(ZIP, manifest) as an honest sender makes them."""
    entry = part_of(body, suite)
    manifest = manifest_of(standing, exchange, (entry,))
    return b"".join(zip_chunks(manifest, [(entry, crc32(body), iter([body]))])), manifest


class Forge:
    """Signs and seals whatever it is told, as the organisation of ``standing``, for one recipient."""

    def __init__(
        self, standing: Standing, suite: str, to: str, tokens: TokenSource, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.standing = standing
        self.suite = suite_named(suite)
        self.to = to
        self.now = now
        self._tokens = tokens

    def new_id(self) -> str:
        return uuid7(self.now(), random_bytes(10))

    async def good(self, body: bytes = b"%PDF-1.7 good") -> Made:
        exchange = self.new_id()
        return await self.make(exchange, *good_content(self.standing, self.suite, exchange, body))

    async def make(self, exchange: str, plain: bytes, manifest: bytes, *, others: int = 0, size: int | None = None) -> Made:
        """Any bytes as content, with everything around them in order: cipher, envelope, signature, time stamp."""
        key, sealed = self._encrypt(plain)
        envelope = make_envelope(key, self.standing.directory.encryption_certificate(self.to, self.suite))
        orgs = [(self.to, digest(self.suite.digest, envelope))]
        orgs += [(org, digest(self.suite.digest, org.encode())) for org in strangers(others)]
        at = self.now()
        transmittal = Transmittal(
            id=exchange,
            kind="document",
            sender=Sender(org=self.standing.organisation, gateway=self.standing.gateway),
            recipients=tuple(Recipient(org=org, role="primary", envelope=name) for org, name in sorted(orgs)),
            level="internal",
            urgency="routine",
            suite=self.suite.id,
            content=ContentRef(
                manifest=digest(self.suite.digest, manifest), sealed=digest(self.suite.digest, sealed), size=size or len(sealed)
            ),
            created=format_time(at),
            expires=format_time(at + timedelta(days=5)),
            policy=PolicyRef(id=self.standing.policy.id, version=self.standing.policy.version, digest=self.standing.policy.digest),
            directory=DirectoryRef(version=self.standing.directory.version, digest=self.standing.directory.digest),
            refs=(),
        )
        body = transmittal.to_bytes()
        nro = await self._stamped(sign_detached(body, self.standing.signer(self.suite), at=at))
        cover = Cover(transmittal=body, nro=nro, envelopes=((self.to, envelope),))
        return Made(exchange, cover.to_bytes(), sealed)

    def _encrypt(self, plain: bytes) -> tuple[ContentKey, bytes]:
        key = fresh_content_key(self.suite)
        cipher = ContentEncryptor(key)
        sealed = cipher.update(plain)
        return ContentKey(suite=self.suite, key=key.key, nonce=key.nonce, tag=cipher.finalize()), sealed

    async def _stamped(self, nro: SignedData) -> bytes:
        request = make_request(self.suite.digest, nro.signature, nonce=int.from_bytes(random_bytes(8), "big"))
        return nro.with_token(token_from_response(await self._tokens.respond(request))).der


def strangers(count: int) -> list[str]:
    """Organisation codes of the right shape; nobody has them."""
    return [f"11440100{number:09d}"[:17] + "A" for number in range(count)]


def forge_of(home: Path, suite: str, to: str) -> Forge:
    """The forge of a member whose home lies there."""
    from gateway.app import Gateway
    from gateway.home import Home

    opened = Home.open(home)
    return Forge(Gateway(opened)._standing(), suite, to, TimeClient(opened.config.time.authorities[suite]))
