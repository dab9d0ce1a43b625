"""The whole process, from a home on disk: it starts after a long stop, waits, catches up; it refuses secrets that lie open."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import ClientSession

from crypto.errors import KeyUnusable
from crypto.tsa import TimeAuthority
from gateway.app import Gateway
from gateway.config import split_address
from gateway.core.errors import BadConfiguration
from gateway.files import others_may_read
from gateway.founding import Plan, found, free_address
from gateway.home import PASSPHRASE_VARIABLE, Home
from gateway.net.authority_server import AuthorityServer
from gateway.pilot import TSA_POLICY, PilotAuthority
from gateway.pilot_records import SerialNumbers
from gateway.pilot_serve import SystemClock

ORG = "11440100007482151C"
POLICY = (Path(__file__).resolve().parents[1] / "policies" / "default.toml").read_bytes()
LONG_AGO = timedelta(days=60)  # a directory is good for 30 days, a list for 7
WAIT = 30.0


@pytest.fixture(scope="module")
def city(tmp_path_factory) -> Path:
    """Founded long ago, and nothing of it has run since."""
    folder = tmp_path_factory.mktemp("app")
    then = datetime.now(UTC) - LONG_AGO
    authority = PilotAuthority.create(folder / "authority", suite="intl-1", listen=free_address(), at=then)
    plan = Plan(organisation=ORG, name="市政府办公室", suites=("intl-1",), zone="pilot", highest_level="work-secret", policy=POLICY)
    found(folder / "home", plan, authority, at=then)
    return folder


@pytest.fixture
def home(city, tmp_path) -> Home:
    return Home.open(shutil.copytree(city / "home", tmp_path / "home"))


@asynccontextmanager
async def served(authority: PilotAuthority) -> AsyncIterator[None]:
    serials = SerialNumbers(authority.folder)
    signer = authority.signer("tsa-intl-1")
    stamping = {"intl-1": TimeAuthority(signer=signer, policy=TSA_POLICY, accuracy_ms=1000)}
    server = AuthorityServer(authority.public, stamping, serials.next, SystemClock())
    await server.start(*split_address(authority.listen))
    try:
        yield
    finally:
        await server.stop()


@asynccontextmanager
async def running(home: Home) -> AsyncIterator[Gateway]:
    gateway = Gateway(home)
    task = asyncio.create_task(gateway.run())
    try:
        yield gateway
    finally:
        gateway.stop()
        assert await task == 0


async def readiness(home: Home) -> list[str]:
    async with ClientSession() as session, session.get(f"http://{home.config.listen.ops}/readyz") as answer:
        return [reason["code"] for reason in json.loads(await answer.read())["reasons"]]


async def until(home: Home, wanted) -> list[str]:
    """Wait until readiness is as wanted; what it was."""
    async with asyncio.timeout(WAIT):
        while True:
            try:
                codes = await readiness(home)
            except OSError:
                codes = None
            if codes is not None and wanted(codes):
                return codes
            await asyncio.sleep(0.05)


async def test_after_a_long_stop_it_starts_and_catches_up(home, city, monkeypatch):
    monkeypatch.setattr("gateway.renewal.RETRY_SECONDS", 0.1)
    async with running(home):
        codes = await until(home, lambda codes: "not-serving" not in codes)
        assert "directory-expired" in codes
        authority = PilotAuthority.open(city / "authority")
        authority.refresh(at=datetime.now(UTC), force=True)
        async with served(authority):
            assert await until(home, lambda codes: not codes) == []
            assert len(home.directories()) == 2


async def test_a_list_that_is_none_does_not_keep_it_from_starting(home, city, caplog):
    authority = PilotAuthority.open(city / "authority")
    authority.refresh(at=datetime.now(UTC), force=True)
    (home.crls / "broken.crl").write_bytes(b"rubbish")
    async with served(authority), running(home):
        assert await until(home, lambda codes: not codes) == []
    assert "broken.crl counts as missing" in caplog.text


# ---- secrets -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["keys/sign-intl-1.pem", "keys/storage.key", "keys/log.pem", "passphrase"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
async def test_it_does_not_start_on_secrets_others_may_read(home, name, mode):
    (home.path / name).chmod(mode)
    with pytest.raises(BadConfiguration, match="readable by others") as caught:
        await Gateway(home).run()
    assert name in str(caught.value)


async def test_a_passphrase_file_that_is_not_used_may_lie_open(home, monkeypatch):
    (home.path / "passphrase").chmod(0o644)
    monkeypatch.setenv(PASSPHRASE_VARIABLE, home.passphrase().decode())
    home.check_secrets()


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="no access lists")
def test_an_access_list_is_read_and_not_guessed_from_the_mode(tmp_path):
    """A credential of systemd: 0440 by its mode, whose middle bits are only the mask of a list that names one account."""
    import struct

    file = tmp_path / "passphrase"
    file.write_bytes(b"secret")

    def acl(*entries):
        return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)

    nobody, me = 0xFFFFFFFF, os.geteuid()
    own = [(0x01, 4, nobody), (0x02, 4, me), (0x04, 0, nobody), (0x10, 4, nobody), (0x20, 0, nobody)]
    try:
        os.setxattr(file, "system.posix_acl_access", acl(*own))
    except OSError:
        pytest.skip("no access lists on this file system")
    assert file.stat().st_mode & 0o070
    assert not others_may_read(file)
    os.setxattr(file, "system.posix_acl_access", acl(own[0], (0x02, 4, me + 1), *own[2:]))
    assert others_may_read(file)
    os.setxattr(file, "system.posix_acl_access", acl(*own[:2], (0x04, 4, nobody), *own[3:]))
    assert others_may_read(file)


def test_a_wrong_passphrase_names_the_file_and_where_it_came_from(home, monkeypatch):
    right = home.passphrase()
    for load in (home.signers, home.storage_key, home.log_key):
        (home.path / "passphrase").write_bytes(b"wrong\n")
        with pytest.raises(KeyUnusable, match=r"keys/.*passphrase was taken from .*/passphrase"):
            load()
        monkeypatch.setenv(PASSPHRASE_VARIABLE, "wrong too")
        with pytest.raises(KeyUnusable, match=f"passphrase was taken from {PASSPHRASE_VARIABLE}") as caught:
            load()
        assert "wrong too" not in str(caught.value)
        monkeypatch.delenv(PASSPHRASE_VARIABLE)
    (home.path / "passphrase").write_bytes(right)
    assert home.signers()


@pytest.mark.parametrize("text", [b"", b"\n", b"two\nlines\n", b"x" * 1025])
def test_a_passphrase_is_one_line(home, monkeypatch, text):
    (home.path / "passphrase").write_bytes(text)
    with pytest.raises(BadConfiguration, match="one line of 1 to 1024 bytes") as caught:
        home.passphrase()
    assert caught.value.key == "keys.passphrase_file"
    if len(text) > 5:
        monkeypatch.setenv(PASSPHRASE_VARIABLE, text.decode())
        with pytest.raises(BadConfiguration, match="one line of 1 to 1024 bytes"):
            home.passphrase()
