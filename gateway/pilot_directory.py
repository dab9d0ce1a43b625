"""The directory a pilot authority publishes: its entries as a value, its files as a folder.

A ``Listing`` is what the next version will say; it changes by making another. A published version is a folder nobody changes again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import msgspec

from crypto.certificates import Certificate
from crypto.digests import digest
from crypto.keys import Signer
from crypto.signed_data import sign_detached
from crypto.suites import SuiteId
from gateway.core.directory import (
    AuthorityEntry,
    DirectoryHead,
    Entry,
    GatewayEntry,
    GatewayLink,
    Names,
    OrganisationEntry,
    certificate_text,
    make_head,
    parse_certificate_text,
)
from gateway.core.document import LevelId
from gateway.files import make_folder, sync_folder, write_atomic
from gateway.home import DirectoryBundle, digest_of_file, entry_file_name

_TYPES: dict[str, type[OrganisationEntry | GatewayEntry | AuthorityEntry]] = {
    "organisation": OrganisationEntry,
    "gateway": GatewayEntry,
    "authority": AuthorityEntry,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An organisation behind one gateway of its own, as the pilot lists it. ``certificates`` by name: ``sign-<suite>`` … ``tls``."""

    code: str
    name: str
    gateway: str
    peer: str
    zone: str
    highest_level: LevelId
    suites: tuple[SuiteId, ...]
    certificates: Mapping[str, Certificate]
    log_keys: tuple[str, ...]

    def entries(self) -> tuple[OrganisationEntry, GatewayEntry]:
        """Its two entries."""
        organisation = OrganisationEntry(
            code=self.code,
            names=Names(zh=self.name, en=""),
            zone=self.zone,
            highest_level=self.highest_level,
            suites=tuple(sorted(self.suites)),
            signing=tuple(certificate_text(self.certificates[f"sign-{suite}"]) for suite in self.suites),
            encryption=tuple(certificate_text(self.certificates[f"encrypt-{suite}"]) for suite in self.suites),
        )
        gateway = GatewayEntry(
            id=self.gateway,
            organisations=(self.code,),
            links=(GatewayLink(kind="https", url=f"https://{self.peer}"),),
            tls=(self.certificates["tls"].fingerprint,),
            log_keys=self.log_keys,
        )
        return organisation, gateway


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The entries of one version, by name."""

    entries: Mapping[str, Entry]

    @classmethod
    def of_authorities(cls, certificates: Mapping[str, Certificate]) -> Listing:
        """A listing of time authorities alone, by id."""
        entries = [AuthorityEntry(id=name, kind="time", certificates=(certificate_text(one),)) for name, one in certificates.items()]
        return cls(entries={entry.entry_id: entry for entry in entries})

    def with_member(self, member: Member) -> Listing:
        """The same with this organisation and its gateway, in place of what was listed for them."""
        return replace(self, entries={**self.entries, **{entry.entry_id: entry for entry in member.entries()}})

    def without_certificates(self, fingerprints: Collection[str]) -> Listing:
        """The same with these certificates listed nowhere."""
        return replace(self, entries={name: _without(entry, fingerprints) for name, entry in self.entries.items()})

    def publish(self, *, version: int, prev: str | None, issued: datetime, expires: datetime, signer: Signer) -> DirectoryBundle:
        """The signed version."""
        algorithm = signer.suite.digest
        head = make_head(
            version=version, prev=prev, issued=issued, expires=expires, entries=tuple(self.entries.values()), digest_name=algorithm
        ).to_bytes()
        bodies = [entry.to_bytes() for entry in self.entries.values()]
        return DirectoryBundle(
            version=version,
            head=head,
            signature=sign_detached(head, signer, at=issued).der,
            entries={digest(algorithm, body): body for body in bodies},
        )


def _without(entry: Entry, fingerprints: Collection[str]) -> Entry:
    if isinstance(entry, OrganisationEntry):
        return msgspec.structs.replace(
            entry, signing=_texts_without(entry.signing, fingerprints), encryption=_texts_without(entry.encryption, fingerprints)
        )
    if isinstance(entry, GatewayEntry):
        return msgspec.structs.replace(entry, tls=tuple(one for one in entry.tls if one not in fingerprints))
    return entry


def _texts_without(texts: tuple[str, ...], fingerprints: Collection[str]) -> tuple[str, ...]:
    return tuple(text for text in texts if parse_certificate_text(text).fingerprint not in fingerprints)


# ---- files -------------------------------------------------------------------------------------------------------------------------


def write_version(place: Path, bundle: DirectoryBundle) -> None:
    """The files of one version; the folder appears complete."""
    growing = make_folder(place.with_name(f".{place.name}.part"))
    entries = make_folder(growing / "entries")
    for name, body in bundle.entries.items():
        write_atomic(entries / entry_file_name(name), body)
    write_atomic(growing / "head.json", bundle.head)
    write_atomic(growing / "head.p7s", bundle.signature)
    growing.replace(place)
    sync_folder(place.parent)


def read_version(place: Path) -> tuple[DirectoryBundle, Listing]:
    """A version from its folder, with the listing it came from. Our own files: nothing is verified."""
    head = (place / "head.json").read_bytes()
    entries = {digest_of_file(file): file.read_bytes() for file in (place / "entries").glob("*.json")}
    parsed = DirectoryHead.from_bytes(head)
    listing = Listing(entries={ref.id: _TYPES[ref.id.partition("/")[0]].from_bytes(entries[ref.digest]) for ref in parsed.entries})
    bundle = DirectoryBundle(version=parsed.version, head=head, signature=(place / "head.p7s").read_bytes(), entries=entries)
    return bundle, listing
