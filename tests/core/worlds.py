"""A small signed directory over the test PKI: three organisations, their gateways and a time authority."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache

from crypto.certificates import ChainCache
from crypto.digests import digest
from crypto.keys import KeySigner
from crypto.signed_data import sign_detached
from crypto.suites import INTL_1, Suite, suite_named
from gateway.core.directory import (
    AuthorityEntry,
    Directory,
    DirectoryHead,
    Entry,
    GatewayEntry,
    GatewayLink,
    Names,
    OrganisationEntry,
    certificate_text,
    make_head,
)
from tests.crypto.pki import Organisation, Pki, pki_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A directory as it lies with its authority; tests bend it and open it."""

    pki: Pki
    head: bytes
    signature: bytes
    entries: dict[str, bytes]

    def open(self, *, now: datetime | None = None, previous: Directory | None = None) -> Directory:
        return Directory.open(
            self.head,
            self.signature,
            self.entries,
            chains=ChainCache(self.pki.trust),
            authority=self.pki.directory.certificate,
            now=now or self.pki.now,
            previous=previous,
        )

    def signed_anew(self, head: DirectoryHead | bytes, signer: KeySigner | None = None) -> Published:
        """The same entries under another head, signed by the authority unless said otherwise."""
        data = head if isinstance(head, bytes) else head.to_bytes()
        signature = sign_detached(data, signer or self.pki.directory.signer, at=self.pki.now).der
        return replace(self, head=data, signature=signature)


def organisation_entry(organisation: Organisation, suite: Suite) -> OrganisationEntry:
    return OrganisationEntry(
        code=organisation.code,
        names=Names(zh=organisation.name, en=""),
        zone="extranet",
        highest_level="work-secret",
        suites=(suite.id,),
        signing=(certificate_text(organisation.signing.certificate),),
        encryption=(certificate_text(organisation.encryption.certificate),),
    )


def gateway_entry(organisation: Organisation) -> GatewayEntry:
    return GatewayEntry(
        id=organisation.gateway,
        organisations=(organisation.code,),
        links=(GatewayLink(kind="https", url=f"https://{organisation.gateway}.example:8443"),),
        tls=(organisation.tls.certificate.fingerprint,),
        log_keys=(),
    )


def entries_of(pki: Pki) -> list[Entry]:
    time = AuthorityEntry(id="tsa", kind="time", certificates=(certificate_text(pki.tsa.certificate),))
    entries: list[Entry] = [time]
    for organisation in pki.organisations:
        entries += [organisation_entry(organisation, pki.suite), gateway_entry(organisation)]
    return entries


def publish(pki: Pki, entries: list[Entry] | None = None, *, version: int = 1, prev: str | None = None, days: int = 30) -> Published:
    """These entries (by default the whole small world) under a head signed now."""
    entries = entries_of(pki) if entries is None else entries
    name = pki.suite.digest
    head = make_head(version=version, prev=prev, issued=pki.now, expires=pki.now + timedelta(days=days), entries=entries, digest_name=name)
    bodies = {digest(name, entry.to_bytes()): entry.to_bytes() for entry in entries}
    return Published(pki=pki, head=b"", signature=b"", entries=bodies).signed_anew(head)


@cache
def _directory(suite_id: str) -> Directory:
    return publish(pki_for(suite_named(suite_id))).open()


def directory_of_three(suite: Suite = INTL_1) -> Directory:
    """The small world's directory, verified."""
    return _directory(suite.id)
