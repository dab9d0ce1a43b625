"""The vectors: every file is what its maker makes, and every entry point says of it what the file expects."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crypto.errors import YizhanError
from crypto.notes import LogProof, open_checkpoint
from gateway.core.cover import Cover
from gateway.core.directory import DirectoryHead
from gateway.core.leaf import Leaf
from gateway.core.manifest import Manifest
from gateway.core.receipt import Receipt
from gateway.core.transmittal import Transmittal
from tests.vectors.make_core import FOLDER, KEY, ORIGIN, Vector, vectors

MADE = {vector.file.name: vector for vector in vectors()}
FILES = {file.name: Vector.from_bytes(file.read_bytes(), file.stem.split("-", 1)[1]) for file in sorted(FOLDER.glob("*.vector"))}


def _checkpoint(data: bytes) -> None:
    open_checkpoint(data, [KEY.verifier], origin=ORIGIN)


def _proof(data: bytes) -> bytes:
    proof = LogProof.from_bytes(data)
    proof.verify(b"leaf 5", [KEY.verifier], origin=ORIGIN)
    return proof.to_bytes()


READERS: dict[str, Callable[[bytes], bytes | None]] = {
    "transmittal": lambda data: Transmittal.from_bytes(data).to_bytes(),
    "manifest": lambda data: Manifest.from_bytes(data).to_bytes(),
    "receipt": lambda data: Receipt.from_bytes(data).to_bytes(),
    "leaf": lambda data: Leaf.from_bytes(data).to_bytes(),
    "directory": lambda data: DirectoryHead.from_bytes(data).to_bytes(),
    "cover": lambda data: Cover.from_bytes(data).to_bytes(),
    "checkpoint": _checkpoint,
    "proof": _proof,
}


def test_the_files_are_those_the_maker_makes() -> None:
    assert list(FILES) == sorted(MADE)
    for name, vector in MADE.items():
        assert FILES[name] == vector, name


@pytest.mark.parametrize("name", FILES)
def test_every_vector(name: str) -> None:
    vector = FILES[name]
    if vector.expect == "good":
        assert READERS[vector.format](vector.body) in (vector.body, None)
        return
    with pytest.raises(YizhanError) as caught:
        READERS[vector.format](vector.body)
    assert caught.value.code == vector.expect


def test_every_format_has_good_and_bad_ones() -> None:
    assert {vector.format for vector in FILES.values()} == set(READERS)
    for kind in READERS:
        expected = [vector.expect for vector in FILES.values() if vector.format == kind]
        assert expected.count("good") == 1
        assert len(expected) >= 4
