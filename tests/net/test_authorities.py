"""Time stamps, directories and revocation lists over HTTP: our server, our clients, and openssl and curl in their place."""

from __future__ import annotations

import asyncio
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from crypto.ca import IssuingAuthority, Profile, Subject
from crypto.digests import digest
from crypto.errors import Malformed
from crypto.keys import KeySigner, PrivateKey
from crypto.suites import GM_1, INTL_1
from crypto.timestamps import make_request, read_token, token_from_response
from crypto.tsa import TimeAuthority
from gateway.core.errors import Unreachable
from gateway.net.authority_server import AuthorityServer
from gateway.net.calling import CallLimits
from gateway.net.directory_client import MAX_SIGNATURE, DirectoryClient
from gateway.net.time_client import RESTING_SECONDS, TimeClient

POLICY = "2.25.1234"
ENTRY = b'{"v":"an entry"}'


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


def time_authority(suite):
    at = datetime.now(UTC)
    root = IssuingAuthority.create_root(suite, "net tests root", at)
    private = PrivateKey.generate(suite)
    subject = Subject(common_name="net tests time", organisation_name="tests", organisation_code=None)
    certificate = root.issue(private.public, Profile.TIME_STAMP, subject, at, 10)
    return TimeAuthority(KeySigner(private, certificate), POLICY, 500), root.certificate


@pytest.fixture(scope="module")
def authorities():
    return {suite.id: time_authority(suite) for suite in (GM_1, INTL_1)}


@pytest.fixture
async def authority(tmp_path, authorities):
    public = tmp_path / "public"
    (public / "directory" / "entries").mkdir(parents=True)
    (public / "crl").mkdir()
    (public / "roots").mkdir()
    (public / "directory" / "head.json").write_bytes(b"head")
    (public / "directory" / "head.p7s").write_bytes(b"signature")
    (public / "directory" / "entries" / (digest("sm3", ENTRY).replace(":", "-") + ".json")).write_bytes(ENTRY)
    (public / "crl" / "gm-1.crl").write_bytes(b"list")
    (public / "roots" / "gm-1.pem").write_bytes(b"root")
    (tmp_path / "secret").write_bytes(b"never")
    serials = iter(range(1, 10_000))
    server = AuthorityServer(public, {name: pair[0] for name, pair in authorities.items()}, lambda: next(serials), SystemClock())
    server.public = public
    await server.start("127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{server.port}"
    yield server
    await server.stop()


@pytest.fixture
async def session(authority):
    async with aiohttp.ClientSession(authority.url) as session:
        yield session


# ---- time ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", [GM_1, INTL_1], ids=lambda suite: suite.id)
async def test_a_token_for_each_suite(authority, suite):
    client = TimeClient([f"{authority.url}/tsa/{suite.id}"])
    before = datetime.now(UTC)
    stamps = []
    for number in range(3):
        reply = await client.respond(make_request(suite.digest, b"%d" % number, nonce=number + 1))
        stamps.append(read_token(token_from_response(reply)))
    await client.close()
    assert [stamp.serial for stamp in stamps] == [1, 2, 3]
    assert abs((stamps[0].at - before).total_seconds()) < 5


async def _run(*command: str, cwd: Path) -> str:
    process = await asyncio.create_subprocess_exec(*command, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    output, _ = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, output.decode(errors="replace")
    return output.decode(errors="replace")


@pytest.mark.skipif(not (shutil.which("openssl") and shutil.which("curl")), reason="needs openssl and curl")
async def test_openssl_and_curl_get_a_token_they_accept(authority, authorities, tmp_path):
    (tmp_path / "document").write_bytes(b"what is stamped")
    (tmp_path / "root.pem").write_bytes(authorities["intl-1"][1].pem)
    await _run("openssl", "ts", "-query", "-data", "document", "-sha256", "-cert", "-out", "query", cwd=tmp_path)
    await _run(
        *("curl", "-sS", "--fail", "-H", "Content-Type: application/timestamp-query", "--data-binary", "@query", "-o", "reply"),
        f"{authority.url}/tsa/intl-1",
        cwd=tmp_path,
    )
    said = await _run("openssl", "ts", "-verify", "-in", "reply", "-queryfile", "query", "-CAfile", "root.pem", cwd=tmp_path)
    assert "Verification: OK" in said


@pytest.mark.parametrize(
    ("path", "kind", "body", "status"),
    [
        ("/tsa/rsa-1", "application/timestamp-query", b"x", 404),
        ("/tsa/gm-1", "application/octet-stream", b"x", 400),
        ("/tsa/gm-1", "application/timestamp-query", b"x" * 5000, 413),
        ("/directory/head.json", "application/json", b"x", 404),
    ],
)
async def test_what_the_authority_does_not_do(session, path, kind, body, status):
    async with session.post(path, data=body, headers={"Content-Type": kind}) as response:
        assert response.status == status


async def test_a_bad_query_gets_a_rejection_not_an_error(session):
    async with session.post("/tsa/gm-1", data=b"nonsense", headers={"Content-Type": "application/timestamp-query"}) as response:
        assert (response.status, response.content_type) == (200, "application/timestamp-reply")


# ---- failover --------------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def broken():
    """Authorities that fail each in its way: {name: url}, and how often each was asked."""
    asked: dict[str, int] = {}

    async def handle(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        name = head.split()[1].decode().strip("/")
        await reader.readexactly(int(re.search(rb"Content-Length: (\d+)", head)[1]))
        asked[name] = asked.get(name, 0) + 1
        answers = {
            "error": b"HTTP/1.1 500 Oops\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            "html": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
            "huge": b"HTTP/1.1 200 OK\r\nContent-Type: application/timestamp-reply\r\nContent-Length: 999999\r\n\r\n",
            "redirect": b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            "short": b"HTTP/1.1 200 OK\r\nContent-Type: application/timestamp-reply\r\nContent-Length: 50\r\n\r\nx",
        }
        if name in answers:
            writer.write(answers[name])
            await writer.drain()
        else:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield (lambda name: f"http://127.0.0.1:{port}/{name}"), asked
    server.close()


@pytest.mark.parametrize("name", ["error", "html", "huge", "redirect", "short", "silent"])
async def test_the_next_authority_is_asked_when_one_fails(authority, broken, name):
    url, asked = broken
    limits = CallLimits(connections=2, connect_seconds=1, answer_seconds=0.3)
    client = TimeClient([url(name), f"{authority.url}/tsa/gm-1"], limits=limits)
    request = make_request("sm3", b"x", nonce=1)
    assert token_from_response(await client.respond(request))
    assert token_from_response(await client.respond(request))
    assert asked[name] == 1  # it rests: the second document does not wait for it
    client._resting[url(name)] -= RESTING_SECONDS
    await client.respond(request)
    assert asked[name] == 2
    await client.close()


async def test_a_resting_authority_is_better_than_none(authority, broken):
    url, _ = broken
    good = f"{authority.url}/tsa/gm-1"
    client = TimeClient([good, url("error")])
    client._resting[good] = asyncio.get_running_loop().time() + 100
    assert token_from_response(await client.respond(make_request("sm3", b"x", nonce=1)))
    assert good not in client._resting
    await client.close()


async def test_when_all_fail_every_reason_is_named(broken):
    url, _ = broken
    client = TimeClient([url("error"), url("html"), "http://127.0.0.1:9/"])
    with pytest.raises(Unreachable) as caught:
        await client.respond(b"query")
    await client.close()
    for part in ("status 500", "text/html", "127.0.0.1:9"):
        assert part in str(caught.value)


def test_a_time_client_needs_an_authority():
    with pytest.raises(ValueError, match="no time"):
        TimeClient([])


# ---- directory and lists -----------------------------------------------------------------------------------------------------------


async def test_the_directory_is_fetched(authority):
    client = DirectoryClient(f"{authority.url}/directory/")
    assert await client.head() == (b"head", b"signature")
    assert await client.entry(digest("sm3", ENTRY)) == ENTRY
    assert await client.crl(f"{authority.url}/crl/gm-1.crl") == b"list"
    with pytest.raises(Unreachable, match="404"):
        await client.entry(digest("sm3", b"unknown"))
    with pytest.raises(Malformed):
        await client.entry("../head.json")
    await client.close()


async def test_an_oversized_signature_is_unreachable(authority):
    (authority.public / "directory" / "head.p7s").write_bytes(b"x" * (MAX_SIGNATURE + 1))
    client = DirectoryClient(f"{authority.url}/directory")
    with pytest.raises(Unreachable, match="an answer of"):
        await client.head()
    await client.close()


async def test_a_version_that_appears_while_reading_is_not_mixed(authority, monkeypatch):
    client = DirectoryClient(f"{authority.url}/directory")
    await client.entry(digest("sm3", ENTRY))
    original = client._session.get
    calls = []

    def get(url, **kwargs):
        calls.append(url)
        if len(calls) == 2:
            (authority.public / "directory" / "head.json").write_bytes(b"newer head")
        return original(url, **kwargs)

    monkeypatch.setattr(client._session, "get", get)
    with pytest.raises(Unreachable, match="new version"):
        await client.head()
    await client.close()


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/directory/",
        "/directory/../../secret",
        "/directory/%2e%2e/%2e%2e/secret",
        "/directory/entries/../head.json",
        "/directory/entries/sm3:" + "0" * 63,
        "/directory/entries/md5:" + "0" * 64,
        "/crl/../../secret.crl",
        "/crl/GM.crl",
        "/crl/none.crl",
        "/secret",
    ],
)
async def test_nothing_else_is_published(authority, path):
    reader, writer = await asyncio.open_connection("127.0.0.1", authority.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"never" not in answer


async def test_lists_and_roots_have_their_types(session):
    for path, kind in (("/crl/gm-1.crl", "application/pkix-crl"), ("/roots/gm-1.pem", "application/pem-certificate-chain")):
        async with session.get(path) as response:
            assert (response.status, response.content_type) == (200, kind)
