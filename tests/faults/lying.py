"""What a member of the network with valid certificates can make: covers, contents, receipts and notices, true or false in any part.

Here stand the tools; what is tried with them stands in ``test_lying_peers*.py``. A ``Scene`` is a world in which office has sent
something to finance and health; health is the liar, unless an attack says otherwise.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec

from crypto.content_cipher import ContentEncryptor, ContentKey, fresh_content_key
from crypto.digests import digest
from crypto.envelopes import make_envelope
from crypto.randomness import random_bytes
from crypto.signed_data import sign_detached
from crypto.timestamps import make_request, token_from_response
from gateway.core.canonical import format_time
from gateway.core.content import zip_chunks
from gateway.core.cover import Cover
from gateway.core.document import Addressee, Document
from gateway.core.errors import ProblemError
from gateway.core.ids import uuid7
from gateway.core.manifest import Manifest, ManifestSender, PartEntry
from gateway.core.receipt import Issuer, Receipt
from gateway.core.transmittal import ContentRef, DirectoryRef, PolicyRef, Recipient, Sender, Transmittal
from gateway.flow.ports import Pending, Receipted, SignedReceipt
from tests.crypto.pki import Holder
from tests.flow.world import Node, World

BODY = "来自另一单位的正文".encode() * 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A whole exchange in the liar's hands."""

    transmittal: Transmittal
    nro: bytes
    envelopes: Mapping[str, bytes]
    content: bytes | None
    key: ContentKey | None = None

    def cover(self, *orgs: str) -> bytes:
        """For these recipients."""
        chosen = tuple((org, self.envelopes[org]) for org in sorted(orgs) if org in self.envelopes)
        return Cover(transmittal=self.transmittal.to_bytes(), nro=self.nro, envelopes=chosen).to_bytes()


def letter_of(parcel: Any) -> Letter:
    """What somebody on the way, or a recipient, has of a true exchange."""
    cover = Cover.from_bytes(parcel.cover)
    content = parcel.inline if parcel.inline is not None else b"".join(parcel.read(0))
    return Letter(transmittal=Transmittal.from_bytes(cover.transmittal), nro=cover.nro, envelopes=dict(cover.envelopes), content=content)


async def stamped(scene: Scene, body: bytes, signer: Holder, *, over: bytes | None = None, authority: Any = None) -> bytes:
    """A signature with a token, over itself or over something else, by the world's authority or another."""
    bare = sign_detached(body, signer.signer, at=scene.world.time.now())
    request = make_request(scene.world.suite.digest, bare.signature if over is None else over, nonce=1)
    if authority is not None:
        response = authority.respond(request, at=scene.world.time.now(), serial=1)
    else:
        response = await scene.world.authority.respond(request)
    return bare.with_token(token_from_response(response)).der


@dataclass
class Scene:
    """Office sent ``exchange`` to finance and health. Finance, and by default health too, have not got it yet: ``true`` holds what is on its way."""

    world: World
    exchange: str
    true: Letter
    words: list[str] = field(default_factory=list)

    @property
    def office(self) -> Node:
        return self.world["office"]

    @property
    def finance(self) -> Node:
        return self.world["finance"]

    @property
    def liar(self) -> Node:
        return self.world["health"]

    @property
    def now(self) -> datetime:
        return self.world.time.now()

    # ---- making

    async def write(
        self,
        sender: Node,
        *to: Node,
        id: str = "",  # noqa: A002  # as the transmittal calls it
        title: str = "另一份公文",
        inside: Mapping[str, Any] | None = None,
        outside: Mapping[str, Any] | None = None,
        part_level: str = "internal",
    ) -> Letter:
        """A document rightly made by ``sender``, but for what ``inside`` says of the manifest and ``outside`` of the transmittal."""
        suite, exchange = self.world.suite, id or uuid7(self.now, random_bytes(10))
        entry = PartEntry(
            name="正文.pdf", role="body", level=part_level, media_type="application/pdf", size=len(BODY), digest=digest(suite.digest, BODY)
        )
        stated: dict[str, Any] = {
            "nonce": base64.b64encode(random_bytes(16)).decode(),
            "exchange": exchange,
            "sender": ManifestSender(org=sender.code),
            "level": "internal",
            "urgency": "routine",
            "document": Document(
                title=title, level="internal", urgency="routine", primary_recipients=tuple(Addressee(org=node.code) for node in to)
            ),
            "parts": (entry,),
        }
        manifest = Manifest(**(stated | dict(inside or {}))).to_bytes()
        fresh = fresh_content_key(suite)
        cipher = ContentEncryptor(fresh)
        content = b"".join(cipher.update(chunk) for chunk in zip_chunks(manifest, [(entry, zlib.crc32(BODY), iter((BODY,)))]))
        key = ContentKey(suite=suite, key=fresh.key, nonce=fresh.nonce, tag=cipher.finalize())
        envelopes = {node.code: make_envelope(key, node.encryption.certificate) for node in to}
        sealed = ContentRef(manifest=digest(suite.digest, manifest), sealed=digest(suite.digest, content), size=len(content))
        transmittal = self.transmittal(sender, envelopes, id=exchange, content=sealed, **dict(outside or {}))
        nro = await stamped(self, transmittal.to_bytes(), sender.signing)
        return Letter(transmittal=transmittal, nro=nro, envelopes=envelopes, content=content, key=key)

    def transmittal(self, sender: Node, envelopes: Mapping[str, bytes | None], **fields: Any) -> Transmittal:
        """A cover by ``sender`` to whom the envelopes are for."""
        suite, standing = self.world.suite, sender.rooms.standing
        recipients = tuple(
            Recipient(org=org, role="primary", envelope=None if body is None else digest(suite.digest, body))
            for org, body in sorted(envelopes.items())
        )
        stated: dict[str, Any] = {
            "id": uuid7(self.now, random_bytes(10)),
            "kind": "document",
            "sender": Sender(org=sender.code, gateway=sender.gateway),
            "recipients": recipients,
            "level": "internal",
            "urgency": "routine",
            "suite": suite.id,
            "content": None,
            "created": format_time(self.now),
            "expires": format_time(self.now + timedelta(days=20)),
            "policy": PolicyRef(id=standing.policy.id, version=standing.policy.version, digest=standing.policy.digest),
            "directory": DirectoryRef(version=standing.directory.version, digest=standing.directory.digest),
            "refs": (),
        }
        return Transmittal(**(stated | fields))

    async def signed(self, letter: Letter, by: Node, **changes: Any) -> Letter:
        """The letter with its transmittal changed and signed anew by that member, stamp and all."""
        transmittal = msgspec.structs.replace(letter.transmittal, **changes)
        return replace(letter, transmittal=transmittal, nro=await stamped(self, transmittal.to_bytes(), by.signing))

    async def notice(self, sender: Node, kind: str, about: str, *to: Node) -> Letter:
        """A notice without content."""
        transmittal = self.transmittal(sender, {node.code: None for node in to}, kind=kind, refs=(about,))
        return Letter(transmittal=transmittal, nro=await stamped(self, transmittal.to_bytes(), sender.signing), envelopes={}, content=None)

    async def receipt(
        self, event: str, *, by: Node, about: Node | None = None, signer: Holder | None = None, issuer: Issuer | None = None, **changes: Any
    ) -> SignedReceipt:
        """A receipt about the true exchange, with any field changed; ``about``: whose copy, the issuer's own where nobody is said."""
        suite, transmittal = self.world.suite, self.true.transmittal
        stated: dict[str, Any] = {
            "id": uuid7(self.now, random_bytes(10)),
            "exchange": transmittal.id,
            "recipient": (about or by).code,
            "transmittal": digest(suite.digest, transmittal.to_bytes()),
            "sealed": transmittal.content.sealed if transmittal.content else None,
            "event": event,
            "by": issuer or Issuer(org=by.code, gateway=by.gateway),
            "at": format_time(self.now),
            "prev": None,
            "reason": None,
            "refs": (),
        }
        body = Receipt(**(stated | changes)).to_bytes()
        return SignedReceipt(body=body, signature=sign_detached(body, (signer or by.signing).signer, at=self.now).der)

    # ---- trying

    async def offer(self, letter: Letter, *, to: Node | None = None, peer: Node | None = None, cover: bytes | None = None) -> str:
        """The word finance answers with: a problem, ``held``, ``accepted``, or the reason of a signed refusal."""
        target, carrier = to or self.finance, peer or self.liar
        try:
            answer = await target.journey.inbound.offer(carrier.gateway, cover or letter.cover(target.code), letter.content)
        except ProblemError as problem:
            return problem.problem + ("" if problem.retryable else "!")
        if isinstance(answer, Pending):
            return answer.state
        assert isinstance(answer, Receipted)
        (receipt,) = (Receipt.from_bytes(each.body) for each in answer.receipts)
        return f"{receipt.reason.code}!" if receipt.reason else "accepted"

    async def hand(self, *receipts: SignedReceipt, peer: Node | None = None) -> str:
        """What office answers to these receipts, by whomever they are brought."""
        answers = await self.office.journey.inbound.receipts((peer or self.liar).gateway, receipts)
        return " ".join(answer.code + ("" if answer.retryable or answer.code == "ok" else "!") for answer in answers)

    # ---- the true exchange

    async def accepted(self) -> None:
        """Let the true one reach finance, and be signed for by nobody yet."""
        self.office.line.down.clear()
        await self.world.retry()
        assert await self.office.state("out", self.exchange, self.finance.code) == "DELIVERED"

    async def runs_to_its_end(self) -> None:
        """The true exchange arrives, byte for byte and once, is signed for by both, and its sender knows."""
        self.office.line.down.clear()
        await self.world.retry()
        (part,) = self.office.office.sent[self.exchange].parts
        content = b"".join(part.read())
        for node in (self.finance, self.liar):
            row = await node.row("in", f"{self.exchange}-{self.office.code}")
            assert row.name in node.office.inbox, f"{node.key} has no {row.name or 'name'}: {[str(each.state) for each in row.passages]}"
            assert node.delivered(row.name) == (content,)
            if str(row.passages[0].state) == "DELIVERED":
                node.office.sign_for(row.name)
        await self.world.retry()
        for node in (self.finance, self.liar):
            assert await self.office.state("out", self.exchange, node.code) == "SIGNED_FOR"
            titles = [letter.delivery.document.title for letter in node.office.inbox.values()]
            assert titles.count(TRUE_TITLE) == 1


TRUE_TITLE = "关于notice的通知"


async def scene(world: World, *, reached: bool = False, **fields: Any) -> Scene:
    """Office sends; nobody is reached, or everybody."""
    office = world["office"]
    nodes = (world["finance"], world["health"])
    office.line.down |= {node.gateway for node in nodes}
    exchange = await world.send(to=("finance", "health"), **fields)
    parcels = [parcel for _, parcel in office.line.offered]
    letters = [letter_of(parcel) for parcel in parcels]
    envelopes = {org: body for letter in letters for org, body in letter.envelopes.items()}
    found = Scene(world=world, exchange=exchange, true=replace(letters[0], envelopes=envelopes))
    if reached:
        await found.accepted()
    return found


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    """A stream of one piece."""
    yield data


def reasons(gists: Sequence[str]) -> list[str]:
    """The reasons of leaves."""
    return [gist.partition(":")[2] for gist in gists if ":" in gist]
