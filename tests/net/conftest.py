from __future__ import annotations

import contextlib
import ssl

import pytest

from gateway.net.listener import ListenLimits
from gateway.net.peer_client import PeerClient
from gateway.net.peer_server import PeerServer
from tests.net.pki import Gateways
from tests.net.world import CountingGauges, MemoryArrivals


class Station:
    """A peer server in action, and ways to reach it."""

    def __init__(self, gateways: Gateways, server: PeerServer, arrivals: MemoryArrivals, gauges: CountingGauges) -> None:
        self.gateways = gateways
        self.server = server
        self.arrivals = arrivals
        self.gauges = gauges
        self.port = server.port

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def client(self, gateway: str = "north", *, identity=None, **kwargs) -> PeerClient:
        identity = identity or self.gateways.enrol(gateway)
        return PeerClient(identity, {"south": self.url}.get, self.gateways.listed, **kwargs)


@pytest.fixture
def gateways() -> Gateways:
    return Gateways()


@pytest.fixture
async def serve(gateways):
    """Start stations; all stop when the test ends."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(limits: ListenLimits | None = None, **kwargs) -> Station:
            arrivals, gauges = MemoryArrivals(), CountingGauges()
            server = PeerServer(gateways.enrol("south"), arrivals, gateways.listed, limits=limits, gauges=gauges, **kwargs)
            await server.start("127.0.0.1", 0)
            stack.push_async_callback(server.stop, 1.0)
            return Station(gateways, server, arrivals, gauges)

        yield start


@pytest.fixture
async def south(serve) -> Station:
    return await serve()


@pytest.fixture
async def north(south):
    """A client of gateway ``north`` that may call ``south``."""
    client = south.client()
    yield client
    await client.close()


def plain_context(identity, *, version=ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """A TLS client with our identity (or none) that trusts anything: what a stranger or a test tool would use."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    if identity is not None:
        from gateway.net.tls import _as_file

        with _as_file(identity.chain) as chain, _as_file(identity.key) as key:
            context.load_cert_chain(chain, key, password=identity.password)
    return context
