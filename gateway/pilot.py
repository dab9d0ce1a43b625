"""The pilot authority: certificates, revocation lists, time stamps and the signed directory of a trial, in one folder.

It stands in for four bodies that are separate in earnest (certificate authority, key centre, time-stamping authority, directory
authority) and keeps their keys on one disk: good for trying out and for tests, and the command line says so.

    AUTHORITY/authority.json, passphrase, lock     its memory (gateway.pilot_records)
    AUTHORITY/keys, certs                          root-<suite>, tsa-<suite>, directory
    AUTHORITY/public/roots/<suite>.pem             what everyone may fetch ...
    AUTHORITY/public/crl/<suite>.crl
    AUTHORITY/public/directory/                    ... head.json, head.p7s, entries/: a link that moves to a complete new version
    AUTHORITY/versions/<version>/                  every version published

Order of a change: certificates are issued, the record is written, then lists and directory appear. A crash in between leaves the former
directory in force; the next change or refresh publishes what the record knows.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from crypto.ca import GATEWAY_URN, IssuingAuthority, Profile, Subject
from crypto.certificates import Certificate
from crypto.crls import Crl
from crypto.digests import digest
from crypto.keys import KeySigner, PrivateKey, PublicKey, Signer
from crypto.suites import INTL_1, SUITES, SuiteId, suite_named
from gateway.core.canonical import format_time, parse_time
from gateway.core.document import LevelId
from gateway.core.errors import BadInput
from gateway.core.explain import explain
from gateway.core.organisation import check_code
from gateway.files import locked, make_folder, write_atomic
from gateway.home import DirectoryBundle
from gateway.pilot_directory import Listing, Member, read_version, write_version
from gateway.pilot_records import FILE_NAME, Issued, PurposeName, Record, read_record, write_record

PILOT_NAME = "Yizhan pilot"
ROOT_YEARS = 20
AUTHORITY_DAYS = 5 * 365
ORGANISATION_DAYS = 2 * 365
TLS_DAYS = 398  # longer ones are refused by common TLS stacks
CRL_DAYS = 7
DIRECTORY_DAYS = 30
REFRESH_AFTER = timedelta(days=1)
BACKDATED = timedelta(minutes=10)  # clocks of a trial differ; a certificate must not come from the future
TSA_POLICY = f"2.25.{0x5C0D1F0A7B5E4D1C9E0B3A6A2F4C8E11}"  # X.667: a UUID is an arc of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """What an organisation hands in to be enrolled: public keys alone, its private ones stay in its home."""

    code: str
    name: str
    gateway: str
    peer: str  # HOST:PORT
    zone: str
    highest_level: LevelId
    signing: Mapping[SuiteId, PublicKey]
    encryption: Mapping[SuiteId, PublicKey]
    tls: PublicKey
    log_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """What it gets back; ``certificates`` by file name (``sign-gm-1`` … ``tls``)."""

    certificates: Mapping[str, Certificate]
    roots: Mapping[SuiteId, Certificate]
    crls: Mapping[SuiteId, bytes]
    directory_authority: Certificate
    directory: DirectoryBundle


class PilotAuthority:
    """An existing pilot authority. Commands of several processes wait for each other; every change is durable on return."""

    __slots__ = ("_keys", "folder", "listen", "stream", "suite")

    def __init__(self, folder: Path, record: Record) -> None:
        self.folder = folder
        self.suite = suite_named(record.suite)
        self.listen = record.listen
        self.stream = record.stream
        self._keys: dict[str, PrivateKey] = {}  # decrypting one takes a tenth of a second

    # ---- making and opening --------------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, folder: Path, *, suite: SuiteId, listen: str, stream: str | None = None, at: datetime) -> PilotAuthority:
        """A new authority with fresh keys, an empty directory and first revocation lists. Raises BadInput when one is there.

        ``listen`` is where it serves HTTP, ``stream`` where it gives time stamps over lasting connections (None: it does not).
        """
        make_folder(folder, private=True)
        with locked(folder / "lock"):
            if (folder / FILE_NAME).exists():
                raise BadInput(f"there is an authority in {folder} already", reasons=(explain("cli/exists", place=folder),))
            for name in ("keys", "certs"):
                make_folder(folder / name, private=True)
            write_atomic(folder / "passphrase", secrets.token_urlsafe(24).encode() + b"\n", mode=0o600)
            record = Record(suite=suite, listen=listen, stream=stream)
            authority = cls(folder, record)
            authority._make_keys(at - BACKDATED)
            authority._publish(record, authority._first_listing(), at)
        return authority

    @classmethod
    def open(cls, folder: Path) -> PilotAuthority:
        """The authority in this folder. Raises BadConfiguration."""
        return cls(folder, read_record(folder))

    def _make_keys(self, at: datetime) -> None:
        for suite in SUITES.values():
            root = IssuingAuthority.create_root(suite, f"{PILOT_NAME} root {suite.id}", at, years=ROOT_YEARS)
            self._keep(f"root-{suite.id}", root.private, root.certificate)
            self._issue_own(root, f"tsa-{suite.id}", Profile.TIME_STAMP, f"Yizhan pilot time stamps {suite.id}", at)
            write_atomic(make_folder(self.public / "roots") / f"{suite.id}.pem", root.certificate.pem)
            if suite is self.suite:
                self._issue_own(root, "directory", Profile.DIRECTORY, "Yizhan pilot directory", at)

    def _issue_own(self, root: IssuingAuthority, name: str, profile: Profile, common_name: str, at: datetime) -> None:
        private = PrivateKey.generate(root.suite)
        subject = Subject(common_name=common_name, organisation_name=PILOT_NAME)
        self._keep(name, private, root.issue(private.public, profile, subject, at, AUTHORITY_DAYS))

    def _keep(self, name: str, private: PrivateKey, certificate: Certificate) -> None:
        self._keys[name] = private
        write_atomic(self.folder / "keys" / f"{name}.pem", private.to_pkcs8(self._passphrase()), mode=0o600)
        write_atomic(self.folder / "certs" / f"{name}.pem", certificate.pem)

    # ---- what it has -----------------------------------------------------------------------------------------------------------------

    @property
    def public(self) -> Path:
        """The folder everyone may fetch from."""
        return self.folder / "public"

    @property
    def url(self) -> str:
        return f"http://{self.listen}"

    @property
    def directory_url(self) -> str:
        return f"{self.url}/directory"

    @property
    def crl_urls(self) -> tuple[str, ...]:
        return tuple(f"{self.url}/crl/{suite}.crl" for suite in _suites())

    def time_urls(self, suite: str) -> tuple[str, ...]:
        """Where time stamps of that suite are asked for, the cheapest way first."""
        lasting = () if self.stream is None else (f"tsp://{self.stream}",)
        return (*lasting, f"{self.url}/tsa/{suite}")

    @property
    def directory_version(self) -> int:
        return read_record(self.folder).directory_version

    def certificate(self, name: str) -> Certificate:
        """``root-<suite>``, ``tsa-<suite>`` or ``directory``."""
        return Certificate.from_pem((self.folder / "certs" / f"{name}.pem").read_bytes())

    def signer(self, name: str) -> Signer:
        """The key and certificate ``tsa-<suite>`` or ``directory``."""
        return KeySigner(self._private(name), self.certificate(name))

    def _private(self, name: str) -> PrivateKey:
        if name not in self._keys:
            self._keys[name] = PrivateKey.from_pkcs8((self.folder / "keys" / f"{name}.pem").read_bytes(), self._passphrase())
        return self._keys[name]

    def _root(self, suite: str) -> IssuingAuthority:
        return IssuingAuthority.load(self._private(f"root-{suite}"), self.certificate(f"root-{suite}"))

    def _passphrase(self) -> bytes:
        return (self.folder / "passphrase").read_bytes().strip()

    # ---- changes ---------------------------------------------------------------------------------------------------------------------

    def enrol(self, application: Application, *, at: datetime) -> Enrolment:
        """Certify an organisation's keys and list it in a new version of the directory; a repeat replaces what was listed.

        Raises BadOrganisationCode, Malformed.
        """
        check_code(application.code)
        with locked(self.folder / "lock"):
            record = read_record(self.folder)
            certificates = self._certify(application, at - BACKDATED)
            issued = tuple(_issued(application.code, name, certificate) for name, certificate in certificates.items())
            record = msgspec.structs.replace(record, issued=record.issued + issued)
            bundle = self._publish(record, self._listing().with_member(_member(application, certificates)), at)
            return Enrolment(
                certificates=certificates,
                roots={suite: self.certificate(f"root-{suite}") for suite in _suites()},
                crls={suite: (self.public / "crl" / f"{suite}.crl").read_bytes() for suite in _suites()},
                directory_authority=self.certificate("directory"),
                directory=bundle,
            )

    def revoke(self, code: str, purpose: PurposeName, *, at: datetime, reason: str = "keyCompromise") -> int:
        """Revoke an organisation's certificates of one purpose and take them out of the directory; how many there were.

        Raises BadInput when it has none.
        """
        with locked(self.folder / "lock"):
            record = read_record(self.folder)
            hit = [entry for entry in record.issued if (entry.code, entry.purpose, entry.revoked) == (code, purpose, None)]
            if not hit:
                raise BadInput(
                    f"no valid {purpose} certificate of {code}", reasons=(explain("pilot/nothing-to-revoke", org=code, purpose=purpose),)
                )
            moment = format_time(at)
            issued = tuple(
                msgspec.structs.replace(entry, revoked=moment, reason=reason) if entry in hit else entry for entry in record.issued
            )
            listing = self._listing().without_certificates({entry.fingerprint for entry in hit})
            self._publish(msgspec.structs.replace(record, issued=issued), listing, at)
            return len(hit)

    def refresh(self, *, at: datetime, force: bool = False) -> bool:
        """Publish lists and directory anew when they are a day old (or ``force``); whether that was so."""
        with locked(self.folder / "lock"):
            record = read_record(self.folder)
            if not force and self._age(at) < REFRESH_AFTER:
                return False
            self._publish(record, self._listing(), at)
            return True

    def _age(self, at: datetime) -> timedelta:
        return max(at - Crl.from_der((self.public / "crl" / f"{suite}.crl").read_bytes()).this_update for suite in _suites())

    def _certify(self, application: Application, at: datetime) -> dict[str, Certificate]:
        subject = Subject(common_name=application.name, organisation_name=application.name, organisation_code=application.code)
        found: dict[str, Certificate] = {}
        for suite, key in application.signing.items():
            found[f"sign-{suite}"] = self._root(suite).issue(key, Profile.SIGN, subject, at, ORGANISATION_DAYS)
        for suite, key in application.encryption.items():
            found[f"encrypt-{suite}"] = self._root(suite).issue(key, Profile.ENCRYPT, subject, at, ORGANISATION_DAYS)
        of_gateway = Subject(common_name=application.gateway, organisation_name=application.name, organisation_code=application.code)
        names = (f"URI:{GATEWAY_URN}{application.gateway}",)
        found["tls"] = self._root(INTL_1.id).issue(application.tls, Profile.TLS, of_gateway, at, TLS_DAYS, sans=names)
        return found

    # ---- publishing ------------------------------------------------------------------------------------------------------------------

    def _listing(self) -> Listing:
        return read_version(self.public / "directory")[1]

    def _first_listing(self) -> Listing:
        return Listing.of_authorities({f"tsa-{suite}": self.certificate(f"tsa-{suite}") for suite in _suites()})

    def _publish(self, record: Record, listing: Listing, at: datetime) -> DirectoryBundle:
        """The record first, then the lists, so that a certificate is revoked before the directory forgets it, then the directory.

        A crash after the record skips a version number: readers accept a gap, and no version is ever signed twice.
        """
        version = record.directory_version + 1
        expires = at + timedelta(days=DIRECTORY_DAYS)
        bundle = listing.publish(version=version, prev=record.directory_digest, issued=at, expires=expires, signer=self.signer("directory"))
        record = msgspec.structs.replace(
            record,
            crl_number=record.crl_number + 1,
            directory_version=version,
            directory_digest=digest(self.suite.digest, bundle.head),
        )
        write_record(self.folder, record)
        for suite in _suites():
            write_atomic(make_folder(self.public / "crl") / f"{suite}.crl", self._crl(suite, record, at))
        place = make_folder(self.folder / "versions") / f"{version:012d}"
        write_version(place, bundle)
        _point(self.public / "directory", place)
        return bundle

    def _crl(self, suite: SuiteId, record: Record, at: datetime) -> bytes:
        revoked = [
            (int(entry.serial, 16), parse_time(entry.revoked), entry.reason)
            for entry in record.issued
            if entry.ca == suite and entry.revoked is not None
        ]
        return self._root(suite).crl(revoked, record.crl_number, at, CRL_DAYS)


def _suites() -> tuple[SuiteId, ...]:
    return tuple(suite.id for suite in SUITES.values())


def _issued(code: str, name: str, certificate: Certificate) -> Issued:
    purpose: PurposeName = "tls" if name == "tls" else "sign" if name.startswith("sign-") else "encrypt"
    return Issued(
        ca=certificate.public_key.suite.id,
        code=code,
        purpose=purpose,
        serial=f"{certificate.serial:x}",
        fingerprint=certificate.fingerprint,
    )


def _member(application: Application, certificates: Mapping[str, Certificate]) -> Member:
    return Member(
        code=application.code,
        name=application.name,
        gateway=application.gateway,
        peer=application.peer,
        zone=application.zone,
        highest_level=application.highest_level,
        suites=tuple(application.signing),
        certificates=certificates,
        log_keys=application.log_keys,
    )


def _point(link: Path, target: Path) -> None:
    """Let ``link`` lead to ``target``, from one moment to the next."""
    temporary = link.with_name(f".{link.name}.{secrets.token_hex(6)}")
    temporary.symlink_to(os.path.relpath(target, link.parent))
    temporary.replace(link)
