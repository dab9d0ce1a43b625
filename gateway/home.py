"""A gateway's home: one folder with its configuration, keys, certificates, trust, policy, directory, data and office.

    HOME/gateway.toml                              configuration (gateway.config)
    HOME/keys/{sign,encrypt}-<suite>.pem           organisation keys, PKCS#8, encrypted, 0600; old ones encrypt-<suite>.old-<n>.pem
    HOME/keys/{tls,log}.pem, HOME/keys/storage.key the gateway's own keys, sealed under the same passphrase
    HOME/certs/                                    the certificate of each organisation key and of tls, under the same names
    HOME/trust/roots/*.pem, trust/crls/*.crl, trust/directory-authority.pem
    HOME/policies/*.toml
    HOME/directory/<version>/{head.json,head.p7s}, HOME/directory/entries/   the last good directory
    HOME/data/{yizhan.db,origin,mark,blobs/,uploads/,scratch/}   gateway.store owns what is in there
    HOME/office/                                   the folder office, when that is the adapter

Loaders read a file each time they are called; whoever needs a value often keeps it. No loader puts a key or the passphrase into an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from crypto.certificates import Certificate, Trust
from crypto.content_cipher import StorageKey
from crypto.crls import Crl
from crypto.digests import parse_digest
from crypto.errors import KeyUnusable, Malformed, YizhanError
from crypto.keys import KeySigner, KeyUnwrapper, PrivateKey, Signer, Unwrapper
from crypto.notes import LogKey
from crypto.suites import INTL_1, SUITES
from gateway.config import FILE_NAME, Config, read_config
from gateway.core.errors import BadConfiguration
from gateway.core.policy import Policy, load_policy
from gateway.files import appear, make_folder, others_may_read, write_atomic
from gateway.flow.standing import AbsentSigner
from gateway.net.tls import TlsIdentity
from gateway.storage_key_file import open_storage_key

PASSPHRASE_VARIABLE = "YIZHAN_PASSPHRASE"  # noqa: S105  # its name, not its value
MAX_PASSPHRASE = 1024
MAX_DIRECTORIES = 1_000  # kept ones looked at; directories live for weeks, and a busy authority publishes some a day
MAX_TRUST_FILE = 16 * 1024 * 1024  # a revocation list of a large national CA is a few MiB
_VERSION = re.compile(r"\d{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryBundle:
    """The exact bytes of one directory version: head, its signature, entries by digest text."""

    version: int
    head: bytes
    signature: bytes
    entries: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptCrl:
    """One file of ``trust/crls``: the revocation list in it, or the problem that makes it count as missing."""

    file: Path
    crl: Crl | None
    problem: str = ""


class Home:
    """An existing home whose configuration holds."""

    __slots__ = ("config", "path")

    def __init__(self, path: Path, config: Config) -> None:
        self.path = path
        self.config = config

    @classmethod
    def open(cls, path: Path | str) -> Home:
        """The home in this folder. Raises BadConfiguration."""
        folder = Path(path).absolute()
        if not folder.is_dir():
            raise BadConfiguration(f"{folder}: no such home; `yizhan init` makes one", file=str(folder), key="")
        return cls(folder, read_config(folder / FILE_NAME))

    # ---- places ------------------------------------------------------------------------------------------------------------------

    @property
    def keys(self) -> Path:
        return self.path / "keys"

    @property
    def certs(self) -> Path:
        return self.path / "certs"

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def database(self) -> Path:
        return self.data / "yizhan.db"

    @property
    def mark(self) -> Path:
        """Where the size of the last checkpoint is kept outside the database."""
        return self.data / "mark"

    def log_origin(self) -> str | None:
        """The origin of the log this node writes; None before its first start."""
        file = self.data / "origin"
        return file.read_text().strip() if file.exists() else None

    @property
    def office(self) -> Path:
        return self.path / self.config.office.path

    @property
    def crls(self) -> Path:
        return self.path / self.config.trust.crls

    @property
    def policy_file(self) -> Path:
        return self.path / self.config.policy.file

    # ---- keys --------------------------------------------------------------------------------------------------------------------

    def passphrase(self) -> bytes:
        """What opens the key files. Raises BadConfiguration when neither the environment nor the configured file has it."""
        from_environment = os.environb.get(PASSPHRASE_VARIABLE.encode())
        file = self._passphrase_file()
        if from_environment:
            text, place = from_environment, Path(PASSPHRASE_VARIABLE)
        elif file is None:
            message = f"{self.path / FILE_NAME}: keys.passphrase_file: names no file, and {PASSPHRASE_VARIABLE} is not set or empty"
            raise BadConfiguration(message, file=str(self.path / FILE_NAME), key="keys.passphrase_file")
        else:
            text, place = self._read(file, "keys.passphrase_file").strip(), file
        if not 0 < len(text) <= MAX_PASSPHRASE or b"\n" in text:
            message = f"{place}: the passphrase must be one line of 1 to {MAX_PASSPHRASE} bytes"
            raise BadConfiguration(message, file=str(place), key="keys.passphrase_file")
        return text

    def _passphrase_file(self) -> Path | None:
        name = self.config.keys.passphrase_file
        return self.path / name if name else None

    @property
    def passphrase_place(self) -> str:
        """Where the passphrase comes from, for messages."""
        return PASSPHRASE_VARIABLE if os.environ.get(PASSPHRASE_VARIABLE) else str(self._passphrase_file() or "")

    def check_secrets(self) -> None:
        """Whether every key file, and the passphrase's, is for its owner alone. Raises BadConfiguration naming all that are not."""
        opened = self.open_secrets()
        if opened:
            names = ", ".join(str(file) for file in opened)
            raise BadConfiguration(f"readable by others than their owner: {names}; chmod 600", file=str(opened[0]), key="keys")

    def open_secrets(self) -> tuple[Path, ...]:
        """The key files, and the passphrase's where it is read, that others than their owner may read."""
        files = [file for file in sorted(self.keys.iterdir()) if file.is_file()] if self.keys.is_dir() else []
        passphrase = self._passphrase_file()
        if passphrase is not None and passphrase.is_file() and not os.environ.get(PASSPHRASE_VARIABLE):
            files.append(passphrase)
        return tuple(file for file in files if others_may_read(file))

    def signers(self) -> dict[str, Signer]:
        """The organisation's signer of each suite it has. Raises KeyUnusable."""
        found: dict[str, Signer] = {}
        for suite in SUITES:
            if (self.keys / f"sign-{suite}.pem").exists():
                found[suite] = self._signer(suite)
        return found

    def signers_or_absent(self) -> dict[str, Signer]:
        """The same for a gateway that runs: a key that cannot be opened now is away, and its suite waits for it. Raises KeyUnusable only
        where not even the certificate can be read.
        """
        found: dict[str, Signer] = {}
        for suite, row in SUITES.items():
            if (self.certs / f"sign-{suite}.pem").exists():
                certificate = self.certificate(f"sign-{suite}")
                try:
                    found[suite] = self._signer(suite)
                except KeyUnusable:
                    found[suite] = AbsentSigner(suite=row, certificate=certificate, call=partial(self._signer, suite))
        return found

    def _signer(self, suite: str) -> Signer:
        return KeySigner(self._private_key(f"sign-{suite}"), self.certificate(f"sign-{suite}"))

    def unwrappers(self) -> dict[str, tuple[Unwrapper, ...]]:
        """The encryption keys of each suite, the current one first, then older ones that still open what was sent to them."""
        found: dict[str, tuple[Unwrapper, ...]] = {}
        for suite in SUITES:
            names = [f"encrypt-{suite}"] if (self.keys / f"encrypt-{suite}.pem").exists() else []
            names += sorted((file.stem for file in self.keys.glob(f"encrypt-{suite}.old-*.pem")), reverse=True)
            if names:
                found[suite] = tuple(KeyUnwrapper(self._private_key(name), self.certificate(name)) for name in names)
        return found

    def certificate(self, name: str) -> Certificate:
        """The certificate ``certs/<name>.pem``. Raises KeyUnusable when it is missing or unreadable."""
        return Certificate.from_pem(self._key_file(self.certs / f"{name}.pem"))

    def storage_key(self) -> StorageKey:
        """The key of holds, own copies and private metadata. Raises KeyUnusable."""
        file = self.keys / "storage.key"
        with self._opening(file):
            return open_storage_key(self._key_file(file), self.passphrase())

    def log_key(self) -> LogKey:
        """The key that signs checkpoints. Raises KeyUnusable."""
        file = self.keys / "log.pem"
        with self._opening(file):
            return LogKey.from_pkcs8(self._key_file(file), self.passphrase(), name=log_name(self.config))

    def tls(self) -> TlsIdentity:
        """Our side of every TLS connection, and the roots under which peers must stand. Raises KeyUnusable, BadConfiguration."""
        return TlsIdentity(
            chain=self._key_file(self.certs / "tls.pem"),
            key=self._key_file(self.keys / "tls.pem"),
            roots=b"".join(root.pem for root in self.trust().roots if root.suite is INTL_1),
            password=self.passphrase(),
        )

    def _private_key(self, name: str) -> PrivateKey:
        file = self.keys / f"{name}.pem"
        with self._opening(file):
            return PrivateKey.from_pkcs8(self._key_file(file), self.passphrase())

    @contextmanager
    def _opening(self, file: Path) -> Iterator[None]:
        """Name the file that does not open, and where the passphrase came from; a missing file names itself."""
        try:
            yield
        except KeyUnusable as problem:
            if "file" in problem.facts:
                raise
            message = f"{file}: {problem}; the passphrase was taken from {self.passphrase_place}"
            raise KeyUnusable(message, file=str(file)) from problem

    def _key_file(self, file: Path) -> bytes:
        try:
            return file.read_bytes()
        except OSError as problem:
            raise KeyUnusable(f"{file}: cannot be read: {problem.strerror}", file=str(file)) from problem

    # ---- trust, policy -----------------------------------------------------------------------------------------------------------

    def trust(self) -> Trust:
        """Roots and revocation lists as they lie in the home now. Raises BadConfiguration."""
        folder = self.path / self.config.trust.roots
        roots = tuple(self._trusted_certificate(file, "trust.roots") for file in sorted(folder.glob("*.pem")))
        if not roots:
            raise BadConfiguration(f"{folder}: no root certificate (*.pem)", file=str(folder), key="trust.roots")
        return Trust(roots=roots, crls=tuple(kept.crl.der for kept in self.revocation_lists() if kept.crl is not None))

    def revocation_lists(self) -> tuple[KeptCrl, ...]:
        """Every file of ``trust/crls``; one that is no usable list counts as missing and stops nothing (whoever reads it says so)."""
        return tuple(self._revocation_list(file) for file in sorted(self.crls.glob("*.crl")))

    def _revocation_list(self, file: Path) -> KeptCrl:
        try:
            return KeptCrl(file=file, crl=Crl.from_der(self._read(file, "trust.crls")))
        except (BadConfiguration, Malformed) as problem:
            return KeptCrl(file=file, crl=None, problem=str(problem))

    def keep_crl(self, name: str, crl: bytes) -> None:
        """Put a revocation list into the home, replacing the one of that name. The caller has verified it."""
        write_atomic(self.crls / name, crl)

    def directory_authority(self) -> Certificate:
        """The certificate that signs the directory. Raises BadConfiguration."""
        return self._trusted_certificate(self.path / self.config.trust.directory_authority, "trust.directory_authority")

    def policy(self) -> tuple[Policy, bytes]:
        """The policy in force and the exact bytes of its file. Raises BadConfiguration."""
        data = self._read(self.policy_file, "policy.file")
        return load_policy(data, source=str(self.policy_file)), data

    def _trusted_certificate(self, file: Path, key: str) -> Certificate:
        try:
            return Certificate.from_pem(self._read(file, key))
        except YizhanError as problem:
            raise BadConfiguration(f"{file}: not a certificate: {problem}", file=str(file), key=key) from problem

    def _read(self, file: Path, key: str) -> bytes:
        try:
            if file.stat().st_size > MAX_TRUST_FILE:
                raise BadConfiguration(f"{file}: larger than {MAX_TRUST_FILE} bytes", file=str(file), key=key)
            return file.read_bytes()
        except OSError as problem:
            raise BadConfiguration(f"{file}: cannot be read: {problem.strerror}", file=str(file), key=key) from problem

    # ---- the last good directory -------------------------------------------------------------------------------------------------

    def directory(self) -> DirectoryBundle | None:
        """The newest directory kept, unverified; None before the first."""
        return next(self._directories(1), None)

    def directories(self) -> tuple[DirectoryBundle, ...]:
        """The directories kept, unverified, newest first: what was made under an older one may still be on its way."""
        return tuple(self._directories(MAX_DIRECTORIES))

    def _directories(self, most: int) -> Iterator[DirectoryBundle]:
        folder = self.path / "directory"
        versions = sorted((place for place in folder.glob("*") if _VERSION.fullmatch(place.name)), reverse=True)[:most]
        entries = {digest_of_file(file): file.read_bytes() for file in (folder / "entries").glob("*.json")} if versions else {}
        for place in versions:
            head, signature = (place / "head.json").read_bytes(), (place / "head.p7s").read_bytes()
            yield DirectoryBundle(version=int(place.name), head=head, signature=signature, entries=entries)

    def keep_directory(self, bundle: DirectoryBundle) -> None:
        """Keep a verified directory. A crash leaves the version before in force: the folder of a version appears complete."""
        folder = self.path / "directory"
        entries = make_folder(folder / "entries")
        for digest, body in bundle.entries.items():
            file = entries / entry_file_name(digest)
            if not file.exists():
                write_atomic(file, body)
        place = folder / f"{bundle.version:012d}"
        if place.exists():
            return
        growing = make_folder(folder / f".{place.name}.part")
        write_atomic(growing / "head.json", bundle.head)
        write_atomic(growing / "head.p7s", bundle.signature)
        appear(growing, place)


def entry_file_name(digest: str) -> str:
    """The file an entry of that digest lives in. Raises Malformed for anything that is no digest."""
    name, raw = parse_digest(digest)
    return f"{name}-{raw.hex()}.json"


def digest_of_file(file: Path) -> str:
    """The digest an entry's file is named after; whether it has that digest is not checked."""
    return file.stem.replace("-", ":", 1)


def log_name(config: Config) -> str:
    """The name of this node's log key: what stands before the year in every log origin."""
    return f"{config.gateway.id}/{config.gateway.node}"
