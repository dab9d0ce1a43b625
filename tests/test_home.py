"""A home: what was founded loads again, what was bent is refused, and no secret shows."""

import dataclasses
import shutil
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crypto.errors import KeyUnusable
from crypto.keys import PrivateKey
from crypto.suites import GM_1
from gateway.core.errors import BadConfiguration, BadInput
from gateway.founding import Plan, found, free_address
from gateway.home import PASSPHRASE_VARIABLE, DirectoryBundle, Home
from gateway.pilot import PilotAuthority
from gateway.storage_key_file import new_storage_key, open_storage_key

ORG = "11440100007482151C"
POLICY = (Path(__file__).resolve().parents[1] / "policies" / "default.toml").read_bytes()


def plan(**changes) -> Plan:
    base = Plan(organisation=ORG, name="市政府办公室", suites=("gm-1", "intl-1"), zone="pilot", highest_level="work-secret", policy=POLICY)
    return dataclasses.replace(base, **changes)


@pytest.fixture(scope="module")
def founded(tmp_path_factory) -> Home:
    folder = tmp_path_factory.mktemp("city")
    now = datetime.now(UTC)
    authority = PilotAuthority.create(folder / "authority", suite="gm-1", listen=free_address(), at=now)
    return found(folder / "home", plan(), authority, at=now)


def test_a_founded_home_loads_again(founded: Home):
    home = Home.open(founded.path)
    assert set(home.signers()) == {"gm-1", "intl-1"}
    assert all(signer.certificate.organisation == ORG for signer in home.signers().values())
    assert all(len(keys) == 1 for keys in home.unwrappers().values())
    assert len(home.trust().roots) == 2
    assert len(home.trust().crls) == 2
    assert home.policy()[1] == POLICY
    assert home.directory().version == 2
    assert home.log_key().verifier.name == f"gw-{ORG.lower()}/1"
    assert home.log_origin() is None


def test_the_storage_key_is_the_same_each_time(founded: Home):
    sealed = founded.storage_key().seal(b"title", b"exchange")
    assert founded.storage_key().open(sealed, b"exchange") == b"title"


def test_keys_are_for_their_owner_alone(founded: Home):
    files = [*founded.keys.iterdir(), founded.path / "passphrase"]
    assert len(files) == 8
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(founded.keys.stat().st_mode) == 0o700


def test_no_key_lies_in_the_clear(founded: Home):
    for file in founded.keys.glob("*.pem"):
        assert file.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")


def test_secrets_do_not_show_in_a_repr(founded: Home):
    shown = repr((founded.tls().password, "")) and repr(founded.tls()) + repr(founded.signers()) + repr(founded.storage_key())
    assert founded.passphrase().decode() not in shown


def test_the_environment_comes_before_the_file(founded: Home, monkeypatch):
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "another one")
    assert founded.passphrase() == b"another one"
    with pytest.raises(KeyUnusable):
        founded.signers()
    with pytest.raises(KeyUnusable):
        founded.storage_key()
    with pytest.raises(KeyUnusable):
        founded.log_key()


def test_with_the_environment_set_no_passphrase_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "kept elsewhere")
    now = datetime.now(UTC)
    authority = PilotAuthority.create(tmp_path / "authority", suite="intl-1", listen=free_address(), at=now)
    home = found(tmp_path / "home", plan(suites=("intl-1",)), authority, at=now)
    assert not (home.path / "passphrase").exists()
    assert set(home.signers()) == {"intl-1"}
    monkeypatch.delenv(PASSPHRASE_VARIABLE)
    with pytest.raises(BadConfiguration) as caught:
        home.passphrase()
    assert caught.value.key == "keys.passphrase_file"


def copied(founded: Home, tmp_path: Path) -> Home:
    return Home.open(shutil.copytree(founded.path, tmp_path / "home"))


def test_a_key_of_another_certificate_is_refused(founded: Home, tmp_path):
    home = copied(founded, tmp_path)
    (home.keys / "sign-gm-1.pem").write_bytes(PrivateKey.generate(GM_1).to_pkcs8(home.passphrase()))
    with pytest.raises(KeyUnusable):
        home.signers()


def test_old_encryption_keys_stay_behind_the_current_one(founded: Home, tmp_path):
    home = copied(founded, tmp_path)
    for folder in (home.keys, home.certs):
        for number in (1, 2):
            (folder / f"encrypt-gm-1.old-{number}.pem").write_bytes((folder / "encrypt-gm-1.pem").read_bytes())
    assert len(home.unwrappers()["gm-1"]) == 3
    assert len(home.unwrappers()["intl-1"]) == 1


@pytest.mark.parametrize(
    ("file", "load", "key"),
    [
        ("policies/default.toml", lambda home: home.policy(), "policy.file"),
        ("trust/directory-authority.pem", lambda home: home.directory_authority(), "trust.directory_authority"),
        ("passphrase", lambda home: home.passphrase(), "keys.passphrase_file"),
    ],
)
def test_a_missing_file_is_named(founded: Home, tmp_path, file, load, key):
    home = copied(founded, tmp_path)
    (home.path / file).unlink()
    with pytest.raises(BadConfiguration) as caught:
        load(home)
    assert file in str(caught.value)
    assert caught.value.key == key


def test_no_roots_no_trust(founded: Home, tmp_path):
    home = copied(founded, tmp_path)
    for root in (home.path / "trust" / "roots").iterdir():
        root.unlink()
    with pytest.raises(BadConfiguration):
        home.trust()


def test_rubbish_among_the_roots_is_named(founded: Home, tmp_path):
    home = copied(founded, tmp_path)
    (home.path / "trust" / "roots" / "x.pem").write_text("rubbish")
    with pytest.raises(BadConfiguration, match=r"x\.pem"):
        home.trust()


def test_a_folder_that_is_no_home(tmp_path):
    with pytest.raises(BadConfiguration):
        Home.open(tmp_path / "nowhere")
    with pytest.raises(BadConfiguration):
        Home.open(tmp_path)


def test_the_newest_directory_kept_counts(founded: Home, tmp_path):
    home = copied(founded, tmp_path)
    kept = home.directory()
    newer = DirectoryBundle(version=kept.version + 7, head=b"head", signature=b"signature", entries={"sm3:" + "a" * 64: b"entry"})
    home.keep_directory(newer)
    home.keep_directory(newer)
    found_again = home.directory()
    assert (found_again.version, found_again.head, found_again.signature) == (kept.version + 7, b"head", b"signature")
    assert found_again.entries["sm3:" + "a" * 64] == b"entry"


def test_half_a_directory_is_as_none(founded: Home, tmp_path):
    """A crash while a version is written leaves its hidden folder, and the version before in force."""
    home = copied(founded, tmp_path)
    growing = home.path / "directory" / ".000000000099.part"
    growing.mkdir()
    (growing / "head.json").write_bytes(b"half")
    assert home.directory().version == 2


def test_a_home_is_never_overwritten(founded: Home):
    authority = PilotAuthority.open(founded.path.parent / "authority")
    before = {file: file.read_bytes() for file in founded.path.rglob("*") if file.is_file()}
    with pytest.raises(BadInput):
        found(founded.path, plan(), authority, at=datetime.now(UTC) + timedelta(minutes=1))
    assert before == {file: file.read_bytes() for file in founded.path.rglob("*") if file.is_file()}
    assert not list(founded.path.parent.glob(".*.part"))


# ---- the storage key's file ----------------------------------------------------------------------------------------------------


def test_storage_key_file_flipped_anywhere_is_refused():
    file = new_storage_key(b"passphrase")
    open_storage_key(file, b"passphrase")
    for index in range(0, len(file) - 1, 13):
        bent = file[:index] + bytes((file[index] ^ 1,)) + file[index + 1 :]
        with pytest.raises(KeyUnusable):
            open_storage_key(bent, b"passphrase")
    for bad in (b"", b"x", file + b" more", file[:-10]):
        with pytest.raises(KeyUnusable):
            open_storage_key(bad, b"passphrase")
