"""Who gets a connection, and who gets an answer."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime

import aiohttp
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from crypto.ca import IssuingAuthority, Profile, Subject
from crypto.errors import KeyUnusable, Unverified
from crypto.keys import PrivateKey
from crypto.suites import GM_1, INTL_1
from gateway.core.errors import PeerProblem, Unreachable
from gateway.flow.ports import Receipted
from gateway.net.peer_client import PeerClient
from gateway.net.peer_server import PeerServer
from gateway.net.tls import TlsIdentity, check_listed, client_context, peer_certificate, server_context
from tests.net.conftest import plain_context
from tests.net.pki import PASSWORD, URN, Authority, Gateways
from tests.net.world import MemoryArrivals, eventually, parcel_of


async def _post(south, context, path="/v1/receipts"):
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
        session.post(south.url + path, data=b"x") as response,
    ):
        return response.status, await response.json(content_type=None)


# ---- the server judges its callers -----------------------------------------------------------------------------------------------


async def test_no_certificate_no_connection(south):
    with pytest.raises(aiohttp.ClientError):
        await _post(south, plain_context(None))


async def test_a_certificate_of_another_authority_gets_no_connection(south):
    stranger = Gateways()
    with pytest.raises(aiohttp.ClientError):
        await _post(south, plain_context(stranger.enrol("north")))


async def test_an_expired_certificate_gets_no_connection(south, gateways):
    with pytest.raises(aiohttp.ClientError):
        await _post(south, plain_context(gateways.enrol("north", days=-1)))


async def test_a_certificate_for_servers_alone_gets_no_connection(south, gateways):
    with pytest.raises(aiohttp.ClientError):
        await _post(south, plain_context(gateways.enrol("north", usages=(ExtendedKeyUsageOID.SERVER_AUTH,))))


async def test_tls_1_2_is_refused(south, gateways):
    with pytest.raises(aiohttp.ClientError):
        await _post(south, plain_context(gateways.enrol("north"), version=ssl.TLSVersion.TLSv1_2))


@pytest.mark.parametrize(
    "uris",
    [(), ("urn:yizhan:gateway:",), ("https://north.example",), (URN + "north", URN + "west"), (URN + "No Such/Name",), (URN + "a" * 64,)],
    ids=["none", "empty", "other", "two", "bad characters", "long"],
)
async def test_a_certificate_that_names_no_gateway_hears_one_word(south, gateways, uris):
    chain, key, _ = gateways.authority.issue(*uris)
    status, body = await _post(south, plain_context(gateways.identity(chain, key)))
    assert (status, body["code"]) == (403, "unknown-peer")
    assert south.gauges.refusals == [("unknown-peer", "stranger")]


async def test_a_gateway_or_certificate_that_is_not_listed_hears_the_same(south, gateways, caplog):
    caplog.set_level("INFO")
    identity = gateways.enrol("north")
    gateways.directory["north"] = frozenset({"sha256:" + "0" * 64})
    first = await _post(south, plain_context(identity))
    del gateways.directory["north"]
    second = await _post(south, plain_context(identity))
    assert first == second
    assert first[1]["code"] == "unknown-peer"
    assert "does not list" in caplog.text
    assert "does not know" in caplog.text


async def test_a_certificate_dropped_by_the_directory_loses_its_open_connection(south, north, gateways):
    await north.send("south", parcel_of(1, b"x"))
    kept = gateways.directory.pop("north")
    with pytest.raises(PeerProblem) as caught:
        await north.send("south", parcel_of(2, b"x"))
    assert (caught.value.problem, caught.value.retryable) == ("unknown-peer", True)
    gateways.directory["north"] = kept
    assert isinstance(await north.send("south", parcel_of(2, b"x")), Receipted)


async def test_sessions_are_never_resumed(south, gateways):
    context = plain_context(gateways.enrol("north"))
    reader, writer = await asyncio.open_connection("127.0.0.1", south.port, ssl=context)
    writer.write(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readline()
    connection = writer.get_extra_info("ssl_object")
    assert connection.version() == "TLSv1.3"
    assert connection.session is None or not connection.session.has_ticket
    writer.close()


# ---- the client judges whom it called --------------------------------------------------------------------------------------------


async def _send_to(south, gateways, name="south"):
    client = PeerClient(gateways.enrol("north"), {name: south.url}.get, gateways.listed)
    try:
        await client.send(name, parcel_of(1, b"secret words"))
    finally:
        await client.close()


async def test_another_gateway_at_the_address_gets_no_request(south, gateways):
    gateways.enrol("east")
    with pytest.raises(Unreachable, match="in place of east"):
        await _send_to(south, gateways, "east")
    assert south.arrivals.offers == 0


async def test_a_certificate_the_directory_does_not_list_gets_no_request(south, gateways):
    gateways.directory["south"] = frozenset({"sha256:" + "0" * 64})
    with pytest.raises(Unreachable, match="does not list"):
        await _send_to(south, gateways)
    assert south.arrivals.offers == 0


async def test_a_server_of_another_authority_gets_no_request(south, gateways):
    other = Authority()
    identity = gateways.enrol("north")
    client = PeerClient(
        TlsIdentity(chain=identity.chain, key=identity.key, roots=other.pem, password=PASSWORD), {"south": south.url}.get, gateways.listed
    )
    with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
        await client.send("south", parcel_of(1, b"x"))
    await client.close()
    assert south.arrivals.offers == 0


async def test_a_changed_listing_leaves_the_old_connections(south, north, gateways):
    """Delisting the other side's certificate takes effect on connections that are open already."""
    await north.send("south", parcel_of(1, b"x"))
    gateways.directory["south"] = frozenset({"sha256:" + "0" * 64})
    with pytest.raises(Unreachable):
        await north.send("south", parcel_of(2, b"x"))
    assert south.arrivals.offers == 1


async def test_a_lane_left_behind_closes_when_its_last_call_ends(south, north, gateways):
    south.arrivals.gate.clear()
    slow = asyncio.create_task(north.send("south", parcel_of(1, b"x")))
    await eventually(lambda: south.arrivals.waiting == 1)
    gateways.enrol("south")  # a second certificate is listed: renewal
    quick = asyncio.create_task(north.send("south", parcel_of(2, b"x")))
    await asyncio.sleep(0.05)
    south.arrivals.gate.set()
    assert isinstance(await slow, Receipted)
    assert isinstance(await quick, Receipted)
    await eventually(lambda: south.server.connections == 1)


async def test_only_https_is_called(gateways):
    gateways.enrol("south")
    client = PeerClient(gateways.enrol("north"), {"south": "http://127.0.0.1:9"}.get, gateways.listed)
    with pytest.raises(Unreachable, match="https"):
        await client.send("south", parcel_of(1, b"x"))


# ---- values ----------------------------------------------------------------------------------------------------------------------


def test_an_identity_from_files(tmp_path, gateways):
    chain, key, _ = gateways.authority.issue(URN + "north")
    for name, data in (("chain", chain), ("key", key), ("roots", gateways.authority.pem)):
        (tmp_path / name).write_bytes(data)
    identity = TlsIdentity.from_files(chain=tmp_path / "chain", key=tmp_path / "key", roots=tmp_path / "roots", password=PASSWORD)
    assert server_context(identity).minimum_version == ssl.TLSVersion.TLSv1_3
    assert server_context(identity).num_tickets == 0
    assert client_context(identity, "south", gateways.listed).verify_mode == ssl.CERT_REQUIRED
    assert PASSWORD.decode() not in repr(identity)


def test_keys_that_do_not_open_or_fit_are_ours_to_mend(gateways):
    chain, key, _ = gateways.authority.issue(URN + "north")
    _, other_key, _ = gateways.authority.issue(URN + "north")
    for broken in (
        TlsIdentity(chain=chain, key=key, roots=gateways.authority.pem, password=b"wrong"),
        TlsIdentity(chain=chain, key=key, roots=gateways.authority.pem),
        TlsIdentity(chain=chain, key=other_key, roots=gateways.authority.pem, password=PASSWORD),
        TlsIdentity(chain=b"", key=key, roots=gateways.authority.pem, password=PASSWORD),
        TlsIdentity(chain=chain, key=key, roots=b"", password=PASSWORD),
    ):
        with pytest.raises(KeyUnusable):
            server_context(broken)


def test_garbage_names_nobody():
    for der in (b"", b"\x30\x03\x02\x01\x01"):
        with pytest.raises(Unverified):
            peer_certificate(der)


def test_listing_is_by_gateway_and_fingerprint(gateways):
    _, _, der = gateways.authority.issue(URN + "north")
    peer = peer_certificate(der)
    assert peer.gateway == "north"
    check_listed(peer, {"north": frozenset({peer.fingerprint})}.get)
    for directory in ({}, {"north": frozenset()}, {"south": frozenset({peer.fingerprint})}):
        with pytest.raises(Unverified):
            check_listed(peer, directory.get)


async def test_our_own_authoritys_certificates_work_beside_an_sm2_root():
    """What a pilot hands out: TLS on P-256 under one root, and the other suite's root in the same bundle."""
    at = datetime.now(UTC)
    roots = [IssuingAuthority.create_root(suite, f"root {suite.id}", at) for suite in (GM_1, INTL_1)]
    bundle = b"".join(root.certificate.pem for root in roots)
    directory, identities = {}, {}
    for gateway in ("north", "south"):
        private = PrivateKey.generate(INTL_1)
        subject = Subject(common_name=gateway, organisation_name="tests", organisation_code=None)
        certificate = roots[1].issue(private.public, Profile.TLS, subject, at, 10, sans=("URI:" + URN + gateway,))
        directory[gateway] = frozenset({certificate.fingerprint})
        identities[gateway] = TlsIdentity(chain=certificate.pem, key=private.to_pkcs8(PASSWORD), roots=bundle, password=PASSWORD)
    server = PeerServer(identities["south"], MemoryArrivals(), directory.get)
    await server.start("127.0.0.1", 0)
    client = PeerClient(identities["north"], {"south": f"https://127.0.0.1:{server.port}"}.get, directory.get)
    assert isinstance(await client.send("south", parcel_of(1, b"x")), Receipted)
    await client.close()
    await server.stop(0.5)


def test_a_context_for_another_peer_costs_no_second_derivation(gateways, monkeypatch):
    """Half a second on the event loop for each peer called for the first time: everybody else would wait for it."""
    from gateway.net import tls

    identity, asked = gateways.enrol("north"), []
    real = tls.serialization.load_pem_private_key
    monkeypatch.setattr(tls.serialization, "load_pem_private_key", lambda key, password: asked.append(1) or real(key, password))
    for number in range(20):
        client_context(identity, f"peer-{number}", gateways.listed)
    assert len(asked) == 1
