"""pyas2lib beside us: pack (sign, encrypt) and unpack (decrypt, verify) one document, in a process and perhaps an environment of its own.

    python gateway/cli/bench_as2.py SIZE PAIRS      -> CPU milliseconds a pair, a JSON line

Imports nothing of ours, because the interpreter that has pyas2lib may not have us.
"""

from __future__ import annotations

import datetime as dt
import importlib
import json
import os
import re
import sys
import time
from typing import Any
from unittest import mock

# It turns line ends of what it signs into CR LF, also in binary files; content without any comes back as it was and can be compared.
_WITHOUT_LINE_ENDS = bytes(0x20 if byte in (0x0A, 0x0D) else byte for byte in range(256))


def load() -> Any:
    """The library. Its oscrypto 1.3.0 reads only one-digit patch levels of OpenSSL ("3.0.9"): it is shown the first digit of longer ones."""
    search = re.search

    def tolerant(pattern: Any, string: Any, flags: int = 0) -> Any:
        if isinstance(string, str) and string.startswith("OpenSSL "):
            string = re.sub(r"\b(\d\.\d\.\d)\d+", r"\1", string)
        return search(pattern, string, flags)

    with mock.patch("re.search", tolerant):
        importlib.import_module("oscrypto._openssl._libcrypto_cffi")
    return importlib.import_module("pyas2lib")


def identity() -> tuple[bytes, bytes]:
    """An RSA-2048 key with its certificate as PKCS#12 for ourselves, and the certificate alone for the partner."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(Encoding.PEM)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + pem, pem


def measure(size: int, pairs: int) -> float:
    """CPU milliseconds of one pack and unpack."""
    library = load()
    own, public = identity()
    organisation = library.Organization("ours", sign_key=own, sign_key_pass=None, decrypt_key=own, decrypt_key_pass=None)
    partner = library.Partner(
        "theirs",
        verify_cert=public,
        encrypt_cert=public,
        sign=True,
        digest_alg="sha256",
        encrypt=True,
        enc_alg="aes_256_cbc",
        validate_certs=False,
    )
    content = os.urandom(size).translate(_WITHOUT_LINE_ENDS)
    _pair(library, organisation, partner, content)
    begun = time.process_time_ns()
    for _ in range(pairs):
        _pair(library, organisation, partner, content)
    return (time.process_time_ns() - begun) / 1e6 / pairs


def _pair(library: Any, organisation: Any, partner: Any, content: bytes) -> None:
    packed = library.Message(organisation, partner)
    packed.build(content, filename="a.pdf", subject="bench", content_type="application/pdf")
    received = library.Message()
    status, detail, _ = received.parse(
        packed.headers_str + b"\r\n" + packed.content, lambda _: organisation, lambda _: partner, lambda *_: False
    )
    if status != "processed" or received.content != content:
        raise SystemExit(f"pyas2lib did not unpack what it packed: {status} {detail}")


if __name__ == "__main__":
    print(json.dumps({"cpu_ms": measure(int(sys.argv[1]), int(sys.argv[2]))}))
