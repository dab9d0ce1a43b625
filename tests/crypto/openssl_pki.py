"""Keys and self-signed certificates made by the openssl command line: a second tool beside our own authority."""

from __future__ import annotations

import functools
import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from crypto.certificates import Certificate
from crypto.keys import KeySigner, KeyUnwrapper, PrivateKey
from crypto.suites import GM_1, Suite

PASSWORD = b"throw-away"
SHARED = Path(__file__).resolve().parents[2].parent / "shared"


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="yizhan-openssl-")


def folder() -> Path:
    """A place for files of this session."""
    return Path(_folder().name)


def openssl(*arguments: str | Path, check: bool = True, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """One run of the command line."""
    return subprocess.run(["openssl", *map(str, arguments)], input=stdin, capture_output=True, check=check)


def gm_vectors() -> dict:
    """The published vectors, or a skip where they are not beside the repository."""
    path = SHARED / "vectors" / "gm.json"
    if not path.exists():
        pytest.skip("shared vectors are not here")
    return json.loads(path.read_text("utf-8"))


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A private key with its certificate, as values and as files."""

    private: PrivateKey
    certificate: Certificate
    key_file: Path  # not encrypted: for the command line alone
    certificate_file: Path

    @property
    def signer(self) -> KeySigner:
        return KeySigner(private=self.private, certificate=self.certificate)

    @property
    def unwrapper(self) -> KeyUnwrapper:
        return KeyUnwrapper(private=self.private, certificate=self.certificate)


@functools.cache
def holder(suite: Suite, name: str = "finance") -> Holder:
    """The holder of that name, made once a session."""
    key, pem, certificate = (folder() / f"{suite.id}-{name}.{end}" for end in ("key", "pem", "crt"))
    kind = ["-algorithm", "SM2"] if suite is GM_1 else ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
    openssl("genpkey", *kind, "-out", key)
    openssl("pkcs8", "-topk8", "-in", key, "-out", pem, "-passout", f"pass:{PASSWORD.decode()}")
    identity = ["-sm3", "-sigopt", "distid:1234567812345678"] if suite is GM_1 else ["-sha256"]
    openssl("req", "-x509", "-new", "-key", key, *identity, "-subj", f"/C=CN/O={name}/CN={name}", "-days", "3650", "-out", certificate)
    return Holder(
        private=PrivateKey.from_pkcs8(pem.read_bytes(), PASSWORD),
        certificate=Certificate.from_pem(certificate.read_bytes()),
        key_file=key,
        certificate_file=certificate,
    )


@functools.cache
def foreign_certificate() -> Certificate:
    """A certificate whose key belongs to no suite: P-384."""
    key, certificate = folder() / "p384.key", folder() / "p384.crt"
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", key)
    openssl("req", "-x509", "-new", "-key", key, "-subj", "/CN=p384", "-days", "10", "-out", certificate)
    return Certificate.from_pem(certificate.read_bytes())
