"""A throw-away TLS world on P-256: roots, gateway certificates good and bad. Keys are encrypted as the gateway's are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.net.tls import TlsIdentity, peer_certificate

PASSWORD = b"net tests"
URN = "urn:yizhan:gateway:"


class Authority:
    def __init__(self, name: str = "net tests root") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(self.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=10))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, *uris: str, days: int = 5, usages: tuple[x509.ObjectIdentifier, ...] | None = None) -> tuple[bytes, bytes, bytes]:
        """(certificate PEM, encrypted key PEM, certificate DER) with these SAN URIs; expired when ``days`` is negative."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        both = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")]))
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=20))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.ExtendedKeyUsage(usages or both), critical=False)
        )
        if uris:
            names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(PASSWORD)
        )
        return certificate.public_bytes(serialization.Encoding.PEM), secret, certificate.public_bytes(serialization.Encoding.DER)


class Gateways:
    """Gateways under one root, and the directory's word about their certificates, which a test may change."""

    def __init__(self) -> None:
        self.authority = Authority()
        self.directory: dict[str, frozenset[str]] = {}

    def listed(self, gateway: str) -> frozenset[str] | None:
        return self.directory.get(gateway)

    def enrol(self, gateway: str, **kwargs) -> TlsIdentity:
        """An identity the directory lists."""
        chain, key, der = self.authority.issue(URN + gateway, **kwargs)
        self.directory[gateway] = self.directory.get(gateway, frozenset()) | {peer_certificate(der).fingerprint}
        return self.identity(chain, key)

    def identity(self, chain: bytes, key: bytes, roots: bytes | None = None) -> TlsIdentity:
        return TlsIdentity(chain=chain, key=key, roots=roots or self.authority.pem, password=PASSWORD)
