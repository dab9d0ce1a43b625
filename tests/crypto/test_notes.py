"""Notes, checkpoints and proofs, read as strictly as they are written, and against examples published by others."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.errors import KeyUnusable, Malformed, Unverified
from crypto.merkle import Frontier, inclusion_proof, leaf_hash
from crypto.notes import (
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    Checkpoint,
    LogKey,
    LogProof,
    LogVerifier,
    make_checkpoint,
    open_checkpoint,
    open_note,
    tlog_proof,
)

ORIGIN = "gw-office/1/2026.1"
KEY = LogKey._from_seed("gw-office/1", bytes(range(32)))
OTHER = LogKey._from_seed("gw-finance/1", bytes(32))
TEXT = "公文\n\nsecond paragraph\n"
NOTE = KEY.sign_note(TEXT)
POINT = Checkpoint(origin=ORIGIN, size=3, root=bytes(range(32)))


# ---- examples of others ------------------------------------------------------------------------------------------------------------

# The key and notes of the Go module that introduced the format (golang.org/x/mod/sumdb/note, package documentation).
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def test_a_note_made_by_another_implementation() -> None:
    verifier = LogVerifier.from_vkey(PETER)
    assert verifier.vkey == PETER
    assert open_note(PETER_NOTE.encode(), [verifier]).endswith("what your problem is.\n")
    with pytest.raises(Unverified):
        open_note(PETER_NOTE.replace("answer", "Answer").encode(), [verifier])


# ---- keys --------------------------------------------------------------------------------------------------------------------------


def test_a_verifier_key_has_one_spelling() -> None:
    vkey = KEY.verifier.vkey
    assert LogVerifier.from_vkey(vkey) == KEY.verifier
    name, key_id, key = vkey.split("+", 2)
    raw = base64.b64decode(key)
    for bad in (
        "",
        vkey + "\n",
        f"{name}+{key_id.upper()}x+{key}",
        f"{name}x+{key_id}+{key}",
        f"{name}+00000000+{key}",
        f"{name}+{key_id}+{key[:-1]}",
        f"{name}+{key_id}+{base64.b64encode(b'2' + raw[1:]).decode()}",
        f"{name}+{key_id}+{base64.b64encode(raw[:-1]).decode()}",
        f"a b+{key_id}+{key}",
        f"+{key_id}+{key}",
    ):
        with pytest.raises(Malformed):
            LogVerifier.from_vkey(bad)
    with pytest.raises(Malformed):
        LogVerifier(name="x", public=bytes(31))


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u2003b", "a\nb", "x" * 201])
def test_names_no_key_may_have(name: str) -> None:
    with pytest.raises(Malformed):
        LogKey.generate(name)


def test_a_key_is_kept_encrypted() -> None:
    key = LogKey.generate("gw-office/1")
    pem = key.to_pkcs8(b"secret")
    again = LogKey.from_pkcs8(pem, b"secret", name="gw-office/1")
    assert again.verifier == key.verifier
    assert again.name == "gw-office/1"
    assert b"ENCRYPTED" in pem
    with pytest.raises(KeyUnusable):
        LogKey.from_pkcs8(pem, b"guess", name="gw-office/1")


# ---- notes -------------------------------------------------------------------------------------------------------------------------


def test_a_note_opens_for_its_key_alone() -> None:
    assert open_note(NOTE, [KEY.verifier]) == TEXT
    assert open_note(NOTE, [OTHER.verifier, KEY.verifier]) == TEXT
    for verifiers in ([], [OTHER.verifier], [LogVerifier(name=OTHER.name, public=KEY.verifier.public)]):
        with pytest.raises(Unverified):
            open_note(NOTE, verifiers)


def _cosigned(*lines: bytes) -> bytes:
    return NOTE + b"".join(lines)


def test_other_signatures_are_not_looked_at_but_known_ones_must_hold() -> None:
    other = OTHER.sign_note(TEXT).split(b"\n")[-2] + b"\n"
    assert open_note(_cosigned(other), [KEY.verifier]) == TEXT
    assert open_note(_cosigned(other), [KEY.verifier, OTHER.verifier]) == TEXT
    forged = OTHER.sign_note("another text\n").split(b"\n")[-2] + b"\n"
    assert open_note(_cosigned(forged), [KEY.verifier]) == TEXT
    with pytest.raises(Unverified):
        open_note(_cosigned(forged), [KEY.verifier, OTHER.verifier])
    assert open_note(_cosigned(*[other] * (MAX_SIGNATURES - 1)), [KEY.verifier]) == TEXT
    with pytest.raises(Malformed):
        open_note(_cosigned(*[other] * MAX_SIGNATURES), [KEY.verifier])


LINE = NOTE.split(b"\n")[-2]
SIGNATURE = LINE.split(b" ")[-1]


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"\n",
        NOTE[:-1],
        NOTE + b"\n",
        NOTE + b" ",
        NOTE.replace(b"\n\n\xe2", b"\n\xe2"),
        NOTE.replace(b"\xe2\x80\x94 ", b"-- "),
        NOTE.replace(b"\xe2\x80\x94 ", b"\xe2\x80\x94  "),
        NOTE.replace(b"\xe2\x80\x94 ", b"\xe2\x80\x93 "),
        NOTE.replace(LINE, LINE + b" "),
        NOTE.replace(LINE, LINE.replace(b"=", b"")),
        NOTE.replace(LINE, LINE[:-2] + b"\n=="),
        NOTE.replace(SIGNATURE, SIGNATURE + b"AAAA"),
        NOTE.replace(SIGNATURE, base64.urlsafe_b64encode(b"\xff" * 68)),
        NOTE.replace(SIGNATURE, b"AAAA"),
        NOTE.replace(SIGNATURE, b"AAAAAB=="),
        NOTE.replace(b"gw-office/1", b"gw+office/1"),
        NOTE.replace("公".encode(), b"\xff"),
        NOTE.replace("公".encode(), b"\r"),
        NOTE.replace("公".encode(), b"\t"),
        b"x" * (MAX_NOTE_BYTES + 1),
    ],
)
def test_notes_it_refuses(note: bytes) -> None:
    assert note != NOTE
    with pytest.raises((Malformed, Unverified)):
        open_note(note, [KEY.verifier])


@pytest.mark.parametrize("text", ["", "no newline", "tab\t\n", "null\0\n", "return\r\n", "x" * MAX_NOTE_BYTES + "\n"])
def test_texts_no_note_may_have(text: str) -> None:
    with pytest.raises(Malformed):
        KEY.sign_note(text)


def test_no_flipped_bit_passes() -> None:
    for at in range(len(NOTE)):
        for bit in range(8):
            data = bytearray(NOTE)
            data[at] ^= 1 << bit
            with pytest.raises((Malformed, Unverified)):
                open_note(bytes(data), [KEY.verifier])


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises((Malformed, Unverified)):
        open_note(data, [KEY.verifier])


# ---- checkpoints -------------------------------------------------------------------------------------------------------------------


def test_a_checkpoint_reads_back() -> None:
    assert POINT.to_text() == "gw-office/1/2026.1\n3\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
    note = make_checkpoint(POINT, KEY)
    assert open_checkpoint(note, [KEY.verifier]) == POINT
    assert open_checkpoint(note, [KEY.verifier], origin=ORIGIN) == POINT
    with pytest.raises(Unverified):
        open_checkpoint(note, [KEY.verifier], origin="gw-office/1/2026.2")


ROOT_LINE = POINT.to_text().split("\n")[2]


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"{ORIGIN}\n3\n{ROOT_LINE}",
        f"{ORIGIN}\n3\n{ROOT_LINE}\nextension\n",
        f"{ORIGIN}\n3\n{ROOT_LINE}\n\n",
        f"{ORIGIN}\n03\n{ROOT_LINE}\n",
        f"{ORIGIN}\n+3\n{ROOT_LINE}\n",
        f"{ORIGIN}\n-3\n{ROOT_LINE}\n",
        f"{ORIGIN}\n 3\n{ROOT_LINE}\n",
        f"{ORIGIN}\n３\n{ROOT_LINE}\n",
        f"{ORIGIN}\n\n{ROOT_LINE}\n",
        f"{ORIGIN}\n9007199254740992\n{ROOT_LINE}\n",
        f"{ORIGIN}\n99999999999999999999\n{ROOT_LINE}\n",
        f"{ORIGIN}\n3\n{ROOT_LINE[:-1]}\n",
        f"{ORIGIN}\n3\n{ROOT_LINE[:-2]}9=\n",
        f"{ORIGIN}\n3\n {ROOT_LINE}\n",
        f"{ORIGIN}\n3\nAAAA\n",
        f"\n3\n{ROOT_LINE}\n",
        f"gw office\n3\n{ROOT_LINE}\n",
    ],
)
def test_checkpoints_it_refuses(text: str) -> None:
    with pytest.raises(Malformed):
        Checkpoint.from_text(text)


@given(st.text(max_size=120))
def test_any_text_gives_a_checkpoint_or_malformed(text: str) -> None:
    try:
        assert Checkpoint.from_text(text).to_text() == text
    except Malformed:
        return


# ---- proofs ------------------------------------------------------------------------------------------------------------------------

LEAVES = [b"leaf %d" % number for number in range(11)]


def _log() -> tuple[dict[tuple[int, int], bytes], bytes]:
    frontier, nodes = Frontier.empty(), {}
    for leaf in LEAVES:
        nodes.update({(level, index): value for level, index, value in frontier.append(leaf_hash(leaf))})
    return nodes, make_checkpoint(Checkpoint(origin=ORIGIN, size=len(LEAVES), root=frontier.root()), KEY)


NODES, CHECKPOINT = _log()


def _proof(index: int) -> bytes:
    return tlog_proof(index, inclusion_proof(index, len(LEAVES), lambda level, at: NODES[level, at]), CHECKPOINT)


def test_every_leaf_is_proved_offline() -> None:
    for index, leaf in enumerate(LEAVES):
        proof = LogProof.from_bytes(_proof(index))
        assert proof.index == index
        assert proof.verify(leaf, [KEY.verifier], origin=ORIGIN).size == len(LEAVES)
        with pytest.raises(Unverified):
            proof.verify(leaf + b"!", [KEY.verifier])
        with pytest.raises(Unverified):
            proof.verify(leaf, [OTHER.verifier])
        with pytest.raises(Unverified):
            proof.verify(leaf, [KEY.verifier], origin="another/log")


def test_the_file_is_as_the_format_says() -> None:
    lines = _proof(10).decode().split("\n")
    assert lines[:2] == ["c2sp.org/tlog-proof@v1", "index 10"]
    assert lines[4] == ""
    assert "\n".join(lines[5:]).encode() == CHECKPOINT


def test_extra_data_is_carried() -> None:
    value = LogProof(index=0, hashes=(), checkpoint=CHECKPOINT, extra=b"\0\1")
    assert value.to_bytes().startswith(b"c2sp.org/tlog-proof@v1\nextra AAE=\nindex 0\n\n")
    assert LogProof.from_bytes(value.to_bytes()) == value


HASH_LINE = b"\n" + base64.b64encode(bytes(32))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"c2sp.org/tlog-proof@v1",
        b"c2sp.org/tlog-proof@v2\nindex 0\n\n",
        b"c2sp.org/tlog-proof@v1 \nindex 0\n\n",
        b"c2sp.org/tlog-proof@v1\n\nindex 0\n\n",
        b"c2sp.org/tlog-proof@v1\nindex 00\n\n",
        b"c2sp.org/tlog-proof@v1\nindex  0\n\n",
        b"c2sp.org/tlog-proof@v1\nindex -1\n\n",
        b"c2sp.org/tlog-proof@v1\nindex 0 \n\n",
        b"c2sp.org/tlog-proof@v1\nIndex 0\n\n",
        b"c2sp.org/tlog-proof@v1\r\nindex 0\r\n\r\n",
        b"c2sp.org/tlog-proof@v1\nindex 0\nextra AAE=\n\n",
        b"c2sp.org/tlog-proof@v1\nextra AAE\nindex 0\n\n",
        b"c2sp.org/tlog-proof@v1\nextra \nindex 0\n\n",
        b"c2sp.org/tlog-proof@v1\nextra AAF=\nindex 0\n\n",
        b"c2sp.org/tlog-proof@v1\nextra AAE=\nextra AAE=\nindex 0\n\n",
        b"c2sp.org/tlog-proof@v1\nextra AAE=\n\n",
        b"c2sp.org/tlog-proof@v1\nindex 0\nAAAA\n\n",
        b"c2sp.org/tlog-proof@v1\nindex 0" + HASH_LINE + b" \n\n",
        b"c2sp.org/tlog-proof@v1\nindex 0" + HASH_LINE * 107 + b"\n\n",
        b"c2sp.org/tlog-proof@v1\nindex \xef\xbc\x90\n\n",
        b"c2sp.org/tlog-proof@v1\nextra " + base64.b64encode(bytes(64 * 1024 + 1)) + b"\nindex 0\n\n",
        bytes(512 * 1024),
    ],
)
def test_proofs_it_refuses(data: bytes) -> None:
    with pytest.raises(Malformed):
        LogProof.from_bytes(data)


def test_no_flipped_bit_proves_anything() -> None:
    good = _proof(5)
    for at in range(len(good)):
        for bit in range(8):
            data = bytearray(good)
            data[at] ^= 1 << bit
            with pytest.raises((Malformed, Unverified)):
                LogProof.from_bytes(bytes(data)).verify(LEAVES[5], [KEY.verifier], origin=ORIGIN)


@given(st.binary(max_size=300), st.sampled_from([b"", b"c2sp.org/tlog-proof@v1\n", b"c2sp.org/tlog-proof@v1\nindex 1\n"]))
def test_any_bytes_give_a_proof_or_malformed(data: bytes, start: bytes) -> None:
    try:
        assert LogProof.from_bytes(start + data).to_bytes() == start + data
    except Malformed:
        return


def test_errors_name_the_check() -> None:
    def failing(call: Any) -> str:
        with pytest.raises(Unverified) as caught:
            call()
        return str(caught.value.check)

    assert failing(lambda: open_note(NOTE, [])) == "note-signature"
    assert failing(lambda: open_checkpoint(CHECKPOINT, [KEY.verifier], origin="x")) == "checkpoint-origin"
    assert failing(lambda: LogProof.from_bytes(_proof(5)).verify(b"", [KEY.verifier])) == "inclusion"
