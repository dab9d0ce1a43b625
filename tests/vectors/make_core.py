"""Makes the vectors of the wire formats (docs/format.md, Vectors): ``python -m tests.vectors.make_core`` writes them anew.

A vector is a head of ``name: value`` lines, an empty line, and the exact bytes. ``expect`` is ``good`` or the code of the error.
Everything in them is fixed, so a test makes them again and compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from crypto.merkle import Frontier, inclusion_proof, leaf_hash
from crypto.notes import Checkpoint, LogKey, make_checkpoint, tlog_proof
from gateway.core.cover import Cover
from gateway.core.directory import DirectoryHead, EntryRef
from tests.core import samples
from tests.core.samples import FINANCE, HEALTH

FOLDER = Path(__file__).parent / "core"
KEY = LogKey._from_seed("gw-office/1", bytes(range(32)))
ORIGIN = "gw-office/1/2026.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """One file."""

    format: str
    name: str
    expect: str
    comment: str
    body: bytes

    @property
    def file(self) -> Path:
        return FOLDER / f"{self.format}-{self.name}.vector"

    def to_bytes(self) -> bytes:
        return f"format: {self.format}\nexpect: {self.expect}\ncomment: {self.comment}\n\n".encode() + self.body

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> Vector:
        head, _, body = data.partition(b"\n\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\n"))
        return cls(name=name, body=body, **fields)


def _bent(body: bytes, old: bytes, new: bytes) -> bytes:
    assert body.count(old) >= 1, (old, body)
    return body.replace(old, new, 1)


def _json(kind: str, body: bytes, changes: list[tuple[str, bytes, bytes, str]]) -> Iterator[Vector]:
    yield Vector(format=kind, name="good", expect="good", comment="as we write it", body=body)
    for name, old, new, comment in changes:
        yield Vector(format=kind, name=name, expect="malformed", comment=comment, body=_bent(body, old, new))
    for name, other, comment in (
        ("trailing-newline", body + b"\n", "a byte behind the value"),
        ("byte-order-mark", b"\xef\xbb\xbf" + body, "a mark before the value"),
        ("cut", body[:-1], "the last byte is missing"),
        ("unknown-field", body[:-1] + b',"zz":1}', "a field no format knows"),
        ("spaced", body.replace(b":", b": "), "space that means nothing"),
    ):
        yield Vector(format=kind, name=name, expect="malformed", comment=comment, body=other)


def vectors() -> Iterator[Vector]:
    """All of them."""
    cover = samples.transmittal()
    yield from _json(
        "transmittal",
        cover.to_bytes(),
        [
            ("size-float", b'"size":12345', b'"size":12345.0', "an integer spelt as a float"),
            ("size-exponent", b'"size":12345', b'"size":12345e0', "an integer spelt with an exponent"),
            ("size-negative-zero", b'"version":7', b'"version":-0', "another spelling of zero"),
            ("version-too-large", b'"version":7', b'"version":9007199254740992', "2^53"),
            ("version-true", b'"version":7', b'"version":true', "a boolean is no integer"),
            ("escape", b'"kind":"document"', b'"kind":"d\\u006fcument"', "a needless escape"),
            ("duplicate-key", b'"level":"internal"', b'"level":"public","level":"internal"', "one key twice"),
            ("level", b'"internal"', b'"Internal"', "no such level"),
            ("version-line", b"transmittal/1", b"transmittal/2", "a version we do not know"),
            ("refs-itself", b'"refs":[]', b'"refs":["' + samples.EXCHANGE.encode() + b'"]', "refers to itself"),
            ("expired-at-birth", b'"2026-04-01T', b'"2026-03-01T', "expires before it was created"),
            ("org-lower-case", FINANCE.encode(), FINANCE.lower().encode(), "another spelling of a code"),
            ("sm3-digest", b'"manifest":"sha256:', b'"manifest":"sm3:', "a digest of the other suite"),
        ],
    )
    swapped = msgspec.json.decode(cover.to_bytes())
    swapped["recipients"].reverse()
    unsorted = msgspec.json.encode(swapped, order="sorted")
    yield Vector(format="transmittal", name="unsorted", expect="malformed", comment="recipients out of order", body=unsorted)
    manifest = samples.manifest([samples.part()]).to_bytes()
    yield from _json(
        "manifest",
        manifest,
        [
            ("bidi", "通知".encode(), "通\u202e知".encode(), "text that reads otherwise than it is stored"),
            ("decomposed", "通知".encode(), "e\u0301".encode(), "not in normal form C"),
            ("lone-surrogate", "通知".encode(), b"\xed\xa0\x80", "half a surrogate pair"),
            ("slash", "正文.ofd".encode(), "正文/ofd".encode(), "a part name with a path"),
            ("nonce-short", b"AAECAwQFBgcICQoLDA0ODw==", b"AAECAwQFBgcICQoLDA0O", "15 bytes"),
            ("nonce-spelling", b"ODw==", b"ODx==", "unused bits of base64 set"),
            ("part-above", b'"level":"internal","media_type"', b'"level":"secret","media_type"', "a part above its document"),
        ],
    )
    yield from _json(
        "receipt",
        samples.receipt().to_bytes(),
        [
            ("event", b"ContentConsignment", b"ContentConsigned", "no such event"),
            ("recipient-null", b'"recipient":"' + FINANCE.encode() + b'"', b'"recipient":null', "about nobody"),
            ("zero-milliseconds", b"01.250Z", b"01.000Z", "another spelling of a time"),
        ],
    )
    yield from _json(
        "leaf",
        samples.leaf(exchange=samples.EXCHANGE).to_bytes(),
        [("null", b'"kind"', b'"dst":null,"kind"', "an absent field spelt out"), ("words", b'"ok"', b'"went well"', "free text")],
    )
    head = DirectoryHead(
        version=2,
        prev=samples.some_digest("one"),
        issued=samples.CREATED,
        expires=samples.EXPIRES,
        entries=(
            EntryRef(id="gateway/gw-office", digest=samples.some_digest("g")),
            EntryRef(id=f"organisation/{HEALTH}", digest=samples.some_digest("o")),
        ),
    )
    yield from _json(
        "directory",
        head.to_bytes(),
        [
            ("first-with-past", b'"version":2', b'"version":1', "a first version with a predecessor"),
            ("unsorted", b"gateway/gw", b"organisation/zz", "entries out of order"),
        ],
    )
    yield from _covers()
    yield from _logs()


def _covers() -> Iterator[Vector]:
    good = Cover(transmittal=samples.transmittal().to_bytes(), nro=b"\x30\x00", envelopes=((FINANCE, b"E"), (HEALTH, b"F"))).to_bytes()
    der = good[4:]
    for name, expect, comment, body in (
        ("good", "good", "two envelopes; their bytes are not judged here", good),
        ("length-short", "malformed", "states one byte less", (len(der) - 1).to_bytes(4, "big") + der),
        ("trailing", "malformed", "a byte behind the value, counted", (len(der) + 1).to_bytes(4, "big") + der + b"\0"),
        ("unframed", "malformed", "without its length", der),
        ("ber-length", "malformed", "a length in four bytes where two do", (len(der) + 2).to_bytes(4, "big") + b"\x30\x84\0\0" + der[2:]),
        ("envelope-twice", "malformed", "one organisation twice", good.replace(HEALTH.encode(), FINANCE.encode())),
    ):
        yield Vector(format="cover", name=name, expect=expect, comment=comment, body=body)


def _logs() -> Iterator[Vector]:
    frontier, nodes = Frontier.empty(), {}
    for number in range(11):
        nodes.update({(level, index): value for level, index, value in frontier.append(leaf_hash(b"leaf %d" % number))})
    note = make_checkpoint(Checkpoint(origin=ORIGIN, size=11, root=frontier.root()), KEY)
    proof = tlog_proof(5, inclusion_proof(5, 11, lambda level, index: nodes[level, index]), note)
    for name, expect, comment, body in (
        ("good", "good", f"key {KEY.verifier.vkey}", note),
        ("size", "unverified", "another size than was signed", _bent(note, b"\n11\n", b"\n12\n")),
        ("leading-zero", "unverified", "another text than was signed", _bent(note, b"\n11\n", b"\n011\n")),
        ("no-newline", "malformed", "the last newline is missing", note[:-1]),
        ("hyphen", "malformed", "a hyphen for the dash", _bent(note, b"\xe2\x80\x94", b"-")),
        ("two-spaces", "malformed", "two spaces before the signature", _bent(note, b"/1 ", b"/1  ")),
    ):
        yield Vector(format="checkpoint", name=name, expect=expect, comment=comment, body=body)
    for name, expect, comment, body in (
        ("good", "good", "leaf 5 of `leaf 0` to `leaf 10`", proof),
        ("index", "unverified", "another place", _bent(proof, b"index 5", b"index 4")),
        ("index-zero", "malformed", "a leading zero", _bent(proof, b"index 5", b"index 05")),
        ("header", "malformed", "another version", _bent(proof, b"@v1", b"@v2")),
        ("carriage-return", "malformed", "lines of another system", _bent(proof, b"index 5\n", b"index 5\r\n")),
    ):
        yield Vector(format="proof", name=name, expect=expect, comment=comment, body=body)


def main() -> None:
    """Write every file."""
    FOLDER.mkdir(exist_ok=True)
    for vector in vectors():
        vector.file.write_bytes(vector.to_bytes())


if __name__ == "__main__":
    main()
