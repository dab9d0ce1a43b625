"""What the pilot authority remembers between two commands: one canonical JSON file, replaced whole.

Everything published follows from it and from the directory entries already published; private keys lie beside it, encrypted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import msgspec

from crypto.suites import SuiteId
from gateway.core.canonical import DigestText, Natural, TimeText, Wire, version
from gateway.core.errors import BadConfiguration
from gateway.files import write_atomic

PurposeName = Literal["sign", "encrypt", "tls"]
PURPOSES: tuple[PurposeName, ...] = ("sign", "encrypt", "tls")
FILE_NAME = "authority.json"


class Issued(Wire, frozen=True, kw_only=True):
    """One certificate the authority issued to an organisation, and whether it was revoked."""

    ca: SuiteId
    code: Annotated[str, msgspec.Meta(max_length=18)]
    purpose: PurposeName
    serial: Annotated[str, msgspec.Meta(max_length=40)]  # hexadecimal: a serial number outgrows what JSON counts exactly
    fingerprint: Annotated[str, msgspec.Meta(max_length=80)]
    revoked: TimeText | None = None
    reason: Annotated[str, msgspec.Meta(max_length=40)] | None = None


class Record(Wire, frozen=True, kw_only=True):
    """The authority's whole memory."""

    MAX_BYTES: ClassVar[int] = 16 * 1024 * 1024  # some 50,000 certificates: a pilot is smaller

    v: Literal["yizhan-pilot-authority/1"] = version("yizhan-pilot-authority/1")
    suite: SuiteId  # of the signature over the directory
    listen: Annotated[str, msgspec.Meta(max_length=100)]  # HOST:PORT where it serves HTTP
    stream: Annotated[str, msgspec.Meta(max_length=100)] | None = None  # HOST:PORT for time stamps over lasting connections; None: not
    crl_number: Natural = 0
    directory_version: Natural = 0
    directory_digest: DigestText | None = None  # of the head of that version
    issued: Annotated[tuple[Issued, ...], msgspec.Meta(max_length=50_000)] = ()


def read_record(folder: Path) -> Record:
    """The memory of the authority in this folder. Raises BadConfiguration, Malformed."""
    file = folder / FILE_NAME
    try:
        return Record.from_bytes(file.read_bytes())
    except OSError as problem:
        message = f"{file}: cannot be read: {problem.strerror}; `yizhan authority init` makes an authority"
        raise BadConfiguration(message, file=str(file), key="") from problem


def write_record(folder: Path, record: Record) -> None:
    """Replace the memory; durable on return."""
    write_atomic(folder / FILE_NAME, record.to_bytes(), mode=0o600)


class SerialNumbers:
    """Serial numbers of time stamps, each given once for ever: a block of them is written off before the first of it is used."""

    BLOCK = 10_000
    FILE_NAME = "tsa-serial"

    def __init__(self, folder: Path) -> None:
        self._file = folder / self.FILE_NAME
        self._next = self._end = int(self._file.read_text()) if self._file.exists() else 1

    def next(self) -> int:
        """The next one; durable on return."""
        if self._next == self._end:
            self._end += self.BLOCK
            write_atomic(self._file, f"{self._end}\n".encode(), mode=0o600)
        self._next += 1
        return self._next - 1
