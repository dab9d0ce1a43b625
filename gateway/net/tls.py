"""TLS between gateways: version 1.3 alone, both sides with a certificate, names taken from the directory (docs/protocol.md, TLS).

Three things make a peer: its chain leads to a configured root (OpenSSL checks that), its certificate carries exactly one SAN URI
``urn:yizhan:gateway:<id>``, and the directory lists that certificate's fingerprint for that gateway. Host names play no part.
Sessions are never resumed and no early data is taken: a resumed session would skip the look into the directory.
"""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from crypto.errors import KeyUnusable, Unverified
from crypto.parsed_certificate import FOREIGN_ERRORS
from gateway.core.canonical import GATEWAY_PATTERN

GATEWAY_URN = "urn:yizhan:gateway:"
_GATEWAY_ID = re.compile(GATEWAY_PATTERN)
MAX_CACHED_CERTIFICATES = 1024  # peers are few; a flood of strangers must not grow this

Listed = Callable[[str], frozenset[str] | None]  # gateway id -> fingerprints the directory lists for it; None: no such gateway


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsIdentity:
    """Our own side: certificate chain and encrypted key as PEM, and the roots under which peers must stand."""

    chain: bytes
    key: bytes
    roots: bytes
    password: bytes | None = field(default=None, repr=False)

    @classmethod
    def from_files(cls, *, chain: Path, key: Path, roots: Path, password: bytes | None = None) -> TlsIdentity:
        """Read the three PEM files. Raises OSError."""
        return cls(chain=chain.read_bytes(), key=key.read_bytes(), roots=roots.read_bytes(), password=password)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerCertificate:
    """Whom a verified certificate names. Whether it counts is the directory's word: see ``check_listed``."""

    gateway: str
    fingerprint: str  # "sha256:<hex>" of the certificate's DER
    not_after: datetime


@lru_cache(maxsize=MAX_CACHED_CERTIFICATES)
def peer_certificate(der: bytes) -> PeerCertificate:
    """The gateway a certificate names. Raises Unverified when it names none or more than one."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = [uri for uri in names.get_values_for_type(x509.UniformResourceIdentifier) if uri.startswith(GATEWAY_URN)]
    except (*FOREIGN_ERRORS, x509.ExtensionNotFound) as error:
        raise Unverified("a TLS certificate without a usable SAN", check="tls-identity") from error
    if len(uris) != 1 or not _GATEWAY_ID.fullmatch(uris[0].removeprefix(GATEWAY_URN)):
        raise Unverified("a TLS certificate that does not name exactly one gateway", check="tls-identity", uris=len(uris))
    return PeerCertificate(
        gateway=uris[0].removeprefix(GATEWAY_URN),
        fingerprint=f"sha256:{certificate.fingerprint(hashes.SHA256()).hex()}",
        not_after=certificate.not_valid_after_utc,
    )


def check_listed(peer: PeerCertificate, listed: Listed) -> None:
    """The directory lists this certificate for the gateway it names. Raises Unverified."""
    fingerprints = listed(peer.gateway)
    if fingerprints is None:
        raise Unverified("a gateway the directory does not know", check="tls-directory", peer=peer.gateway)
    if peer.fingerprint not in fingerprints:
        raise Unverified(
            "a certificate the directory does not list", check="tls-directory", peer=peer.gateway, fingerprint=peer.fingerprint
        )


def server_context(identity: TlsIdentity) -> ssl.SSLContext:
    """A context for the peer port: a client without a certificate under our roots gets no connection. Raises KeyUnusable."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0  # each connection shows its certificate anew
    _configure(context, identity)
    return context


def client_context(identity: TlsIdentity, gateway: str, listed: Listed) -> ssl.SSLContext:
    """A context for calling one gateway. Its certificate is judged inside the handshake, before a request byte leaves. Raises KeyUnusable."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the SAN URI and the directory name the peer; addresses change
    _configure(context, identity)

    class Expecting(ssl.SSLObject):
        """A TLS connection that is open only when the expected gateway is at its other end."""

        def do_handshake(self) -> None:
            super().do_handshake()
            der = self.getpeercert(binary_form=True)
            try:
                peer = peer_certificate(der or b"")
                if peer.gateway != gateway:
                    raise Unverified(f"{peer.gateway} answered in place of {gateway}", check="tls-identity")
                check_listed(peer, listed)
            except Unverified as error:
                raise ssl.SSLCertVerificationError(1, str(error)) from error

    context.sslobject_class = Expecting
    return context


def _configure(context: ssl.SSLContext, identity: TlsIdentity) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
    try:
        context.load_verify_locations(cadata=identity.roots.decode("ascii"))
        with _as_file(identity.chain) as chain, _as_file(_opened(identity.key, identity.password)) as key:
            # A password is always given: without one OpenSSL would ask for it on the terminal.
            context.load_cert_chain(chain, key, password=identity.password or b"")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise KeyUnusable("the TLS certificate, key or roots cannot be loaded") from error


@lru_cache(maxsize=4)  # ours; another after a renewal
def _opened(key: bytes, password: bytes | None) -> bytes:
    """The key without its password: deriving that takes half a second, and each peer we call has a context of its own.

    Only where it goes on to OpenSSL through memory; else it stays as it is, for it would come to lie on a disk. Raises ValueError.
    """
    if not hasattr(os, "memfd_create") or not password or b"ENCRYPTED" not in key:
        return key
    private = serialization.load_pem_private_key(key, password)
    return private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


@contextlib.contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    # OpenSSL's loader wants a path. An anonymous file in memory where the system has it; else a file only we can read.
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("yizhan-tls", os.MFD_CLOEXEC)
        try:
            os.write(handle, data)
            yield f"/proc/self/fd/{handle}"
        finally:
            os.close(handle)
        return
    with tempfile.NamedTemporaryFile(prefix="yizhan-tls-") as file:
        file.write(data)
        file.flush()
        yield file.name
