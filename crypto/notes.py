"""Signed notes, checkpoints and proofs of the audit log: C2SP signed-note, tlog-checkpoint, tlog-proof@v1; Ed25519 keys.

Reading is strict: one spelling of every number and base64 text, every line ended, nothing left over. Text of a note is only ever handed
out after a signature of a known key held.

    note = make_checkpoint(Checkpoint(origin="gw-a/1/2026.1", size=size, root=root), key)
    open_checkpoint(note, [key.verifier]).size
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from crypto.errors import Malformed, Unverified
from crypto.keys import ed25519_from_pkcs8, ed25519_to_pkcs8
from crypto.merkle import HASH_BYTES, MAX_PROOF_HASHES, MAX_SIZE, leaf_hash, verify_inclusion
from crypto.randomness import random_bytes

MAX_NOTE_BYTES = 128 * 1024  # sixteen signatures, post-quantum ones of 5 KiB among them, and room
MAX_SIGNATURES = 16  # signed-note asks readers to take as many; a log and its witnesses are far fewer
MAX_NAME_CHARACTERS = 200  # an origin is a gateway id, a node and a year
MAX_EXTRA_BYTES = 64 * 1024  # what a cosigner may add to a proof; ours add nothing
MAX_PROOF_BYTES = MAX_NOTE_BYTES + 2 * MAX_EXTRA_BYTES  # a note and its two extras

_ED25519 = b"\x01"  # signed-note, Signature types
_KEY_ID_BYTES = 4
_PROOF_HEADER = "c2sp.org/tlog-proof@v1"
_SIGNATURE_LINE = re.compile(r"\u2014 (\S+) (\S+)")  # \S is Unicode's: no space of any kind in a name
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)
_NO_NAME = re.compile(r"[\s+\x00-\x1f]")
_VKEY = re.compile(r"([^+\s]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogVerifier:
    """A log's public key under its name."""

    name: str
    public: bytes

    def __post_init__(self) -> None:
        _check_name(self.name)
        _public_key(self.public)

    @property
    def key_id(self) -> bytes:
        """The four bytes that mark this key's signatures."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:_KEY_ID_BYTES]

    @property
    def vkey(self) -> str:
        """``name+id+key``, as verifiers exchange it."""
        return f"{self.name}+{self.key_id.hex()}+{_base64(_ED25519 + self.public)}"

    @classmethod
    def from_vkey(cls, vkey: str) -> LogVerifier:
        """The key of that text. Raises Malformed."""
        match = _VKEY.fullmatch(vkey)
        if match is None:
            raise Malformed(f"not a verifier key: {vkey[:80]!r}")
        key = _from_base64(match[3])
        if len(key) != 33 or key[:1] != _ED25519:
            raise Malformed("a verifier key of another algorithm than Ed25519", name=match[1])
        verifier = cls(name=match[1], public=key[1:])
        if verifier.key_id.hex() != match[2]:
            raise Malformed("a verifier key under a foreign id", name=match[1])
        return verifier

    def verify(self, signature: bytes, text: str) -> None:
        """Raises Unverified unless the signature is this key's over that text."""
        try:
            _public_key(self.public).verify(signature, text.encode())
        except InvalidSignature as error:
            raise Unverified(f"the signature of {self.name} does not hold", check="note-signature", name=self.name) from error


class LogKey:
    """A log's private key under its name: signs notes and nothing else."""

    def __init__(self, name: str, private: Ed25519PrivateKey) -> None:
        self.verifier = LogVerifier(name=name, public=private.public_key().public_bytes_raw())
        self._private = private
        self._key_id = self.verifier.key_id  # part of every signature line, and a hash

    @property
    def name(self) -> str:
        """The name in its signature lines."""
        return self.verifier.name

    @classmethod
    def generate(cls, name: str) -> LogKey:
        """A fresh key. Raises Malformed for a name no key may have."""
        return cls._from_seed(name, random_bytes(32))

    @classmethod
    def _from_seed(cls, name: str, seed: bytes) -> LogKey:
        return cls(name, Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def from_pkcs8(cls, pem: bytes, password: bytes, *, name: str) -> LogKey:
        """The key of an encrypted PKCS#8 file. Raises KeyUnusable."""
        return cls(name, ed25519_from_pkcs8(pem, password))

    def to_pkcs8(self, password: bytes) -> bytes:
        """Encrypted PKCS#8, PEM. The name is not in it."""
        return ed25519_to_pkcs8(self._private, password)

    def sign_note(self, text: str) -> bytes:
        """The note of that text with one signature. Raises Malformed for what cannot be a note's text."""
        _check_note_text(text)
        signature = self._private.sign(text.encode())
        note = f"{text}\n\u2014 {self.name} {_base64(self._key_id + signature)}\n".encode()
        if len(note) > MAX_NOTE_BYTES:
            raise Malformed(f"a note of {len(note)} bytes", size=len(note))
        return note


def open_note(note: bytes, verifiers: Iterable[LogVerifier]) -> str:
    """The text of a note that a known key signed. Every signature of a known key must hold; those of others are not looked at.

    Raises Malformed, Unverified.
    """
    text, signatures = _read_note(note)
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    held = False
    for name, signature in signatures:
        verifier = known.get((name, signature[:_KEY_ID_BYTES]))
        if verifier is not None:
            verifier.verify(signature[_KEY_ID_BYTES:], text)
            held = True
    if not held:
        raise Unverified("no known key signed this note", check="note-signature", names=[name for name, _ in signatures])
    return text


def _read_note(note: bytes) -> tuple[str, list[tuple[str, bytes]]]:
    if len(note) > MAX_NOTE_BYTES:
        raise Malformed(f"a note of {len(note)} bytes", size=len(note))
    try:
        whole = note.decode()
    except UnicodeDecodeError as error:
        raise Malformed("a note that is not UTF-8") from error
    text, blank, block = whole.rpartition("\n\n")
    text += "\n"
    if not blank or not block.endswith("\n"):
        raise Malformed("a note without its blank line, or cut short")
    _check_note_text(text)
    lines = block[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise Malformed(f"a note with {len(lines)} signatures")
    return text, [_read_signature(line) for line in lines]


def _read_signature(line: str) -> tuple[str, bytes]:
    match = _SIGNATURE_LINE.fullmatch(line)
    if match is None:
        raise Malformed(f"not a signature line: {line[:80]!r}")
    _check_name(match[1])
    signature = _from_base64(match[2])
    if len(signature) <= _KEY_ID_BYTES:
        raise Malformed("a signature without bytes", name=match[1])
    return match[1], signature


def _check_note_text(text: str) -> None:
    if not text.endswith("\n") or _CONTROL.search(text):
        raise Malformed("a note's text ends in a newline and has no other control character")


def _check_name(name: str) -> None:
    if not name or len(name) > MAX_NAME_CHARACTERS or _NO_NAME.search(name):
        raise Malformed(f"not the name of a key: {name[:80]!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The head of a log: which log, how many leaves, and the root over them."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        _check_name(self.origin)
        if not 0 <= self.size <= MAX_SIZE or len(self.root) != HASH_BYTES:
            raise Malformed("a checkpoint's size or root is out of bounds", size=self.size)

    def to_text(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{_base64(self.root)}\n"

    @classmethod
    def from_text(cls, text: str) -> Checkpoint:
        """The checkpoint of that text; extension lines are refused, for nobody could audit them. Raises Malformed."""
        lines = text.split("\n")
        if len(lines) != 4 or lines[3]:
            raise Malformed("a checkpoint has three lines")
        return cls(origin=lines[0], size=_number(lines[1]), root=_from_base64(lines[2]))


def make_checkpoint(checkpoint: Checkpoint, key: LogKey) -> bytes:
    """A checkpoint as a note signed by the log."""
    return key.sign_note(checkpoint.to_text())


def open_checkpoint(note: bytes, verifiers: Iterable[LogVerifier], *, origin: str | None = None) -> Checkpoint:
    """The checkpoint in a note a known key signed, of that origin where one is given. Raises Malformed, Unverified."""
    checkpoint = Checkpoint.from_text(open_note(note, verifiers))
    if origin is not None and checkpoint.origin != origin:
        raise Unverified(f"a checkpoint of {checkpoint.origin}", check="checkpoint-origin", origin=checkpoint.origin)
    return checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class LogProof:
    """That a leaf stands at an index of a checkpointed log, provable offline. ``extra`` is nobody's word: it is not signed."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes = b""

    def to_bytes(self) -> bytes:
        """c2sp.org/tlog-proof@v1."""
        extra = [f"extra {_base64(self.extra)}"] if self.extra else []
        lines = [_PROOF_HEADER, *extra, f"index {self.index}", *map(_base64, self.hashes), "", ""]
        return "\n".join(lines).encode() + self.checkpoint

    @classmethod
    def from_bytes(cls, data: bytes) -> LogProof:
        """The proof of those bytes; its checkpoint is not looked into. Raises Malformed."""
        if len(data) > MAX_PROOF_BYTES:
            raise Malformed(f"a proof of {len(data)} bytes", size=len(data))
        head, blank, checkpoint = data.partition(b"\n\n")
        if not blank:
            raise Malformed("a proof without its blank line")
        try:
            header, *lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError as error:
            raise Malformed("a proof that is not ASCII before its checkpoint") from error
        if header != _PROOF_HEADER:
            raise Malformed(f"not a log proof: {header[:80]!r}")
        extra = b""
        if lines and lines[0].startswith("extra "):
            extra = _from_base64(lines.pop(0)[6:])
            if not 0 < len(extra) <= MAX_EXTRA_BYTES:
                raise Malformed("extra data of none or too many bytes")
        if not lines or not lines[0].startswith("index "):
            raise Malformed("a proof without its index")
        if len(lines) - 1 > MAX_PROOF_HASHES:
            raise Malformed(f"a proof of {len(lines) - 1} hashes")
        hashes = tuple(_from_base64(line) for line in lines[1:])
        if any(len(one) != HASH_BYTES for one in hashes):
            raise Malformed("a hash of another length")
        return cls(index=_number(lines[0][6:]), hashes=hashes, checkpoint=checkpoint, extra=extra)

    def verify(self, leaf: bytes, verifiers: Iterable[LogVerifier], *, origin: str | None = None) -> Checkpoint:
        """The checkpoint under which these leaf bytes stand at ``index``.

        1. The checkpoint is signed by a known key, for that origin. 2. The path leads from the leaf to its root.
        Raises Malformed, Unverified.
        """
        checkpoint = open_checkpoint(self.checkpoint, verifiers, origin=origin)
        verify_inclusion(leaf_hash(leaf), self.index, checkpoint.size, self.hashes, checkpoint.root)
        return checkpoint


def tlog_proof(index: int, path: Sequence[bytes], checkpoint: bytes) -> bytes:
    """The proof file of one leaf: its inclusion path and the signed checkpoint it leads to."""
    return LogProof(index=index, hashes=tuple(path), checkpoint=checkpoint).to_bytes()


def _number(text: str) -> int:
    if _NUMBER.fullmatch(text) is None or int(text) > MAX_SIZE:
        raise Malformed(f"not a number: {text[:40]!r}")
    return int(text)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _from_base64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed(f"not base64: {text[:80]!r}") from error
    if _base64(data) != text:  # unused bits set: another spelling of the same bytes
        raise Malformed(f"another spelling of base64: {text[:80]!r}")
    return data


@lru_cache(maxsize=256)  # one entry a log; loading a key costs as much as half a verification
def _public_key(public: bytes) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(public)
    except ValueError as error:
        raise Malformed("not an Ed25519 public key") from error
