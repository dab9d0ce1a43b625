"""What is exported is checked as a stranger would: the commands are taken out of VERIFY.md and run by a shell, with the system's openssl."""

import hashlib
import os
import re
import shutil
import sqlite3
import subprocess
import zipfile
from pathlib import Path

import pytest
from cli_city import FINANCE, OFFICE, yizhan

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which("openssl") is None or shutil.which("bash") is None, reason="needs openssl and bash"),
]
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
DECRYPT = re.compile(r"^```sh decrypt (\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def shell(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", "-ec", script], cwd=folder, capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )


def checks(folder: Path) -> list[str]:
    return BLOCK.findall((folder / "VERIFY.md").read_text(encoding="utf-8"))


def failing(folder: Path, about: str = "") -> list[str]:
    """The blocks that do not hold, of those that mention ``about``."""
    return [block for block in checks(folder) if about in block and shell(block, folder).returncode != 0]


@pytest.fixture(scope="module", params=["office", "finance"])
def exported(request, city, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("evidence") / request.param
    ran = yizhan("evidence", "export", "--home", city.folder / request.param, city.exchange, "-o", folder, "--json")
    assert ran.code == 0, ran.err
    assert "VERIFY.md" in ran.json["files"]
    return folder


@pytest.fixture(scope="module")
def of_sender(city, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("evidence") / "sender"
    ran = yizhan("evidence", "export", "--home", city.office, city.exchange, "-o", folder)
    assert ran.code == 0, ran.err
    return folder


@pytest.fixture
def bent(of_sender, tmp_path) -> Path:
    return Path(shutil.copytree(of_sender, tmp_path / "bent"))


def test_every_command_of_verify_md_succeeds(exported):
    for block in checks(exported):
        ran = shell(block, exported)
        assert ran.returncode == 0, f"{block}\n{ran.stdout}{ran.stderr}"


def test_the_promised_commands_are_there(exported, city):
    text = "\n".join(checks(exported))
    if city.suite == "intl-1":
        assert "openssl cms -verify -cades" in text
        assert "openssl ts -verify" in text
    else:
        assert "openssl pkeyutl -verify" in text
        assert "distid:1234567812345678" in text


def test_everything_the_issue_names_is_there(exported):
    names = {str(file.relative_to(exported)) for file in exported.rglob("*") if file.is_file()}
    assert {"transmittal.json", "nro.p7s", "nro.tst", "nro.attributes", "nro.signature", "sealed.bin", f"envelopes/{FINANCE}.p7m"} <= names
    assert {"log/checkpoint", "directory/head.json", "directory/head.p7s", "SHA256SUMS", "VERIFY.md"} <= names
    events = {name.split("-")[1] for name in names if name.startswith("receipts/") and name.endswith(".json")}
    assert {"ContentConsignment", "ContentHandover", "SignedFor"} <= events
    assert len([name for name in names if name.endswith(".tlog-proof")]) >= 3
    assert any(name.startswith("certificates/time-") for name in names)
    assert any(name.startswith(f"certificates/sign-{OFFICE}") for name in names)
    assert any(name.startswith("policy-") and name.endswith(".toml") for name in names)


def test_no_plaintext_leaves(exported):
    for file in exported.rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            assert "正文\n正文".encode() not in data
            assert "关于试点的函".encode() not in data
            assert b"PRIVATE KEY" not in data


def test_the_recipient_decrypts_with_openssl(exported, city, tmp_path):
    """intl-1: AuthEnvelopedData with detached content; the ZIP inside holds the document byte for byte."""
    blocks = dict(DECRYPT.findall((exported / "VERIFY.md").read_text(encoding="utf-8")))
    if city.suite == "gm-1":
        assert blocks == {}
        return
    secrets = {
        "KEY": str(city.finance / "keys" / "encrypt-intl-1.pem"),
        "PASSPHRASE": (city.finance / "passphrase").read_text().strip(),
        "OUT": str(tmp_path / "content.zip"),
    }
    ran = shell(blocks[FINANCE], exported, **secrets)
    assert ran.returncode == 0, ran.stderr
    with zipfile.ZipFile(tmp_path / "content.zip") as content:
        assert content.namelist() == ["manifest.json", "关于试点的函.txt"]
        sent = (city.folder / "关于试点的函.txt").read_bytes()
        assert hashlib.sha256(content.read("关于试点的函.txt")).digest() == hashlib.sha256(sent).digest()
    shutil.copytree(exported, tmp_path / "bent")
    sealed = tmp_path / "bent" / "sealed.bin"
    sealed.write_bytes(sealed.read_bytes()[:-1] + b"\0")
    assert shell(blocks[FINANCE], tmp_path / "bent", **secrets).returncode != 0


@pytest.mark.parametrize(
    "name",
    [
        "transmittal.json",
        "nro.attributes",
        "nro.signature",
        "sealed.bin",
        f"envelopes/{FINANCE}.p7m",
        "log/checkpoint.text",
        "directory/head.json",
    ],
)
def test_a_flipped_byte_is_found_beyond_the_checksums(bent, name):
    """Whoever bends a file also mends SHA256SUMS; something else must object."""
    file = bent / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    mend(bent)
    assert failing(bent, name.rsplit("/", 1)[-1])


def test_a_changed_receipt_and_a_changed_leaf_are_found(bent):
    receipt = min((bent / "receipts").glob("*.json"))
    original = receipt.read_bytes()
    receipt.write_bytes(original.replace(b"ContentConsignment", b"ContentConsignmenT"))
    mend(bent)
    assert failing(bent, receipt.stem)
    receipt.write_bytes(original)
    leaf = min((bent / "log").glob("leaf-*.json"))
    leaf.write_bytes(leaf.read_bytes().replace(b'"level":"internal"', b'"level":"public"').replace(b'"v":', b'"v" :'))
    mend(bent)
    assert failing(bent, leaf.stem)


def mend(folder: Path) -> None:
    names = sorted(file for file in folder.rglob("*") if file.is_file() and file.name not in ("SHA256SUMS", "VERIFY.md"))
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(folder)}\n" for file in names]
    (folder / "SHA256SUMS").write_text("".join(lines))


def test_a_time_stamp_of_another_signature_is_found(bent):
    """The token moved to another paper: its imprint is not that signature's."""
    receipt = min((bent / "receipts").glob("*.signature"))
    (bent / "nro.signature").write_bytes(receipt.read_bytes())
    mend(bent)
    assert len(failing(bent, "nro.signature")) == 2


def test_nothing_is_overwritten_and_nothing_unknown_exported(exported, city):
    again = yizhan("evidence", "export", "--home", city.office, city.exchange, "-o", exported)
    assert again.code == 2
    assert "cli/exists" in again.err
    unknown = yizhan("evidence", "export", "--home", city.office, "01990000-0000-7000-8000-000000000000", "-o", exported.parent / "other")
    assert unknown.code == 2
    assert "cli/unknown-exchange" in unknown.err
    assert not (exported.parent / "other").exists()


def test_damaged_content_is_not_exported(city, tmp_path):
    """The store's ciphertext has a flipped byte: refused, named, and no folder left behind."""
    home = Path(shutil.copytree(city.office, tmp_path / "home"))
    with sqlite3.connect(home / "data" / "yizhan.db") as connection:
        (body,) = connection.execute("SELECT body FROM contents").fetchone()
        connection.execute("UPDATE contents SET body = ?", (bytes(body[:-1]) + bytes((body[-1] ^ 1,)),))
    connection.close()
    ran = yizhan("evidence", "export", "--home", home, city.exchange, "-o", tmp_path / "evidence")
    assert ran.code == 1
    assert "fsck" in ran.err
    assert not (tmp_path / "evidence").exists()
    assert list(tmp_path.glob(".evidence.*")) == []


def test_a_revocation_list_that_is_none_is_told_and_stops_nothing(city, tmp_path):
    home = tmp_path / "home"
    shutil.copytree(city.office, home)
    (home / "trust" / "crls" / "broken.crl").write_bytes(b"rubbish")
    ran = yizhan("evidence", "export", "--home", home, city.exchange, "-o", tmp_path / "evidence")
    assert ran.code == 0, ran.err
    assert "crls/broken.crl" in (tmp_path / "evidence" / "VERIFY.md").read_text(encoding="utf-8")
