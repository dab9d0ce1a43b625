"""Good values of every wire format, to be bent by the tests that need bad ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from zlib import crc32

from crypto.digests import digest
from crypto.suites import suite_named
from gateway.core.content import zip_chunks
from gateway.core.document import Document
from gateway.core.exchange import Event
from gateway.core.leaf import Actor, Leaf, LeafKind
from gateway.core.manifest import Manifest, ManifestSender, PartEntry
from gateway.core.receipt import Issuer, Receipt
from gateway.core.transmittal import ContentRef, DirectoryRef, PolicyRef, Recipient, Sender, Transmittal

OFFICE = "11310000MB0001234B"
FINANCE = "11310000MB0005678F"
HEALTH = "11310000MB000910XR"
EXCHANGE = "019cadf8-1c00-7abc-8def-0123456789ab"
OTHER_EXCHANGE = "019cadf8-1c00-7abc-8def-0123456789ac"
CREATED = "2026-03-02T08:00:00Z"
EXPIRES = "2026-04-01T08:00:00Z"


def some_digest(text: str, name: str = "sha256") -> str:
    """A digest of the right spelling."""
    return digest("sm3" if name == "sm3" else "sha256", text.encode())


def transmittal(**changes: Any) -> Transmittal:
    """From the office to finance and health."""
    prefix = suite_named(changes.get("suite", "intl-1")).digest
    fields: dict[str, Any] = {
        "id": EXCHANGE,
        "kind": "document",
        "sender": Sender(org=OFFICE, gateway="gw-office"),
        "recipients": tuple(Recipient(org=org, role="primary", envelope=some_digest(org, prefix)) for org in (FINANCE, HEALTH)),
        "level": "internal",
        "urgency": "routine",
        "suite": "intl-1",
        "content": ContentRef(manifest=some_digest("manifest", prefix), sealed=some_digest("sealed", prefix), size=12_345),
        "created": CREATED,
        "expires": EXPIRES,
        "policy": PolicyRef(id="pilot", version=3, digest=some_digest("policy")),
        "directory": DirectoryRef(version=7, digest=some_digest("directory")),
        "refs": (),
    }
    return Transmittal(**(fields | changes))


def notice(kind: str, **changes: Any) -> Transmittal:
    """A notice without content about EXCHANGE."""
    fields: dict[str, Any] = {
        "id": OTHER_EXCHANGE,
        "kind": kind,
        "refs": (EXCHANGE,),
        "content": None,
        "recipients": (Recipient(org=FINANCE, role="primary", envelope=None),),
    }
    return transmittal(**(fields | changes))


def part(data: bytes = b"x" * 100, name: str = "正文.ofd", *, suite: str = "intl-1", **changes: Any) -> PartEntry:
    """An entry for these bytes."""
    fields: dict[str, Any] = {
        "name": name,
        "role": "body",
        "level": "internal",
        "media_type": "application/ofd",
        "size": len(data),
        "digest": digest(suite_named(suite).digest, data),
    }
    return PartEntry(**(fields | changes))


def document(**changes: Any) -> Document:
    return Document(**({"urgency": "routine", "level": "internal", "title": "关于开展电子公文交换试点工作的通知"} | changes))


def manifest(parts: Sequence[PartEntry], **changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "nonce": "AAECAwQFBgcICQoLDA0ODw==",
        "exchange": EXCHANGE,
        "sender": ManifestSender(org=OFFICE),
        "level": "internal",
        "urgency": "routine",
        "document": document(),
        "parts": tuple(parts),
    }
    return Manifest(**(fields | changes))


def packed(*parts: tuple[str, bytes], suite: str = "intl-1", chunk: int = 1 << 20) -> tuple[bytes, str, Manifest]:
    """The content of these parts, the first of them the body; its manifest's digest; the manifest."""
    entries = [part(data, name, suite=suite, role="attachment" if index else "body") for index, (name, data) in enumerate(parts)]
    value = manifest(entries)
    data = value.to_bytes()
    streams = (
        (entry, crc32(body), (body[at : at + chunk] for at in range(0, len(body), chunk)))
        for entry, (_, body) in zip(entries, parts, strict=True)
    )
    return b"".join(zip_chunks(data, streams)), digest(suite_named(suite).digest, data), value


def receipt(event: str = Event.CONSIGNMENT, **changes: Any) -> Receipt:
    """Finance about what it got from the office."""
    fields: dict[str, Any] = {
        "id": OTHER_EXCHANGE,
        "exchange": EXCHANGE,
        "recipient": FINANCE,
        "transmittal": some_digest("transmittal"),
        "sealed": some_digest("sealed"),
        "event": event,
        "by": Issuer(org=FINANCE, gateway="gw-finance"),
        "at": "2026-03-02T08:00:01.250Z",
        "prev": None,
        "reason": None,
        "refs": (),
    }
    return Receipt(**(fields | changes))


def leaf(**changes: Any) -> Leaf:
    fields: dict[str, Any] = {
        "at": CREATED,
        "kind": LeafKind.ACCEPTED,
        "actor": Actor(id="gw-finance", role="gateway", auth="tls"),
        "outcome": "ok",
    }
    return Leaf(**(fields | changes))
