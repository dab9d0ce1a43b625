"""One document to a thousand recipients: signed once, stamped once, encrypted once, wrapped for each; one request to each gateway; every
recipient comes to its own end.

Short form: a thousand behind 20 gateways. Long form: also behind one, and each behind its own.
"""

from __future__ import annotations

from collections import Counter

import pytest

from adapters.folder_status import MAX_STATUS, _fields, pretty
from crypto.content_cipher import ContentEncryptor
from crypto.envelopes import make_envelope
from gateway.core.canonical import MAX_WIRE_BYTES
from gateway.core.cover import MAX_COVER
from gateway.core.exchange import TERMINAL
from gateway.core.transmittal import MAX_RECIPIENTS
from gateway.flow import sealing
from gateway.net.frames import pack_receipts, unpack_receipts
from tests.faults.crowd import Crowd
from tests.faults.torture import FACTOR
from tests.flow.world import World

GATEWAYS = [20, 1, MAX_RECIPIENTS] if FACTOR else [20]


class CountingSigner:
    """A signer that counts."""

    def __init__(self, signer):
        self._signer = signer
        self.signed = 0

    def __getattr__(self, name):
        return getattr(self._signer, name)

    def sign(self, message):
        self.signed += 1
        return self._signer.sign(message)


class Engine:
    """Counts what is encrypted and wrapped while a document is sealed."""

    def __init__(self, monkeypatch):
        self.encryptions = 0
        self.bytes = 0
        self.wraps = Counter()
        engine = self

        class Counting(ContentEncryptor):
            __slots__ = ()

            def __init__(self, key):
                engine.encryptions += 1
                super().__init__(key)

            def update(self, data):
                engine.bytes += len(data)
                return super().update(data)

        def wrap(key, certificate):
            engine.wraps[certificate.fingerprint] += 1
            return make_envelope(key, certificate)

        monkeypatch.setattr(sealing, "ContentEncryptor", Counting)
        monkeypatch.setattr(sealing, "make_envelope", wrap)


@pytest.mark.parametrize("gateways", GATEWAYS)
async def test_one_document_to_a_thousand(tmp_path, monkeypatch, gateways):
    monkeypatch.setattr("tests.flow.world.QUIET_SECONDS", 300.0)
    world = World(tmp_path, keys=("office",))
    crowd = Crowd(world, MAX_RECIPIENTS, gateways)
    async with world:
        office = world["office"]
        engine, suite = Engine(monkeypatch), world.suite.id
        signer = CountingSigner(office.rooms.standing.signers[suite])
        office.rooms.standing.signers[suite] = signer
        tokens = world.authority.asked
        content = b"0123456789abcdef" * 1000
        office.approve("circular", "关于试点的通报", *crowd.by_code, parts=[("正文.pdf", content)])
        await world.settle()
        exchange = office.exchange_of("circular")
        row = await office.row("out", exchange)

        assert signer.signed == 1
        assert world.authority.asked - tokens == 1
        assert engine.encryptions == 1
        assert engine.bytes == row.content.size
        assert engine.wraps == {member.encryption.certificate.fingerprint: 1 for member in crowd.members}
        assert crowd.requests == {f"gw-crowd-{number}": 1 for number in range(gateways)}
        assert crowd.opened == dict.fromkeys(crowd.by_code, 1)
        assert {str(passage.state) for passage in row.passages} == {"CONSIGNED"}

        await crowd.state("ContentHandover")
        await crowd.state("SignedFor")
        await world.settle()
        row = await office.row("out", exchange)
        assert {passage.state for passage in row.passages} <= TERMINAL["out"]
        assert Counter(str(passage.state) for passage in row.passages) == {"SIGNED_FOR": MAX_RECIPIENTS}
        assert len(await office.receipts("out", exchange)) == 3 * MAX_RECIPIENTS
        assert signer.signed == 1
        assert await office.works() == []

        # ceilings: how much of each the largest document takes
        largest = max((parcel for _, parcel in office.line.offered), key=lambda parcel: len(parcel.cover))
        assert len(row.transmittal) < MAX_WIRE_BYTES * 0.7
        assert len(largest.cover) < MAX_COVER * 0.7
        answer = max(office.line.answers, key=lambda given: len(given.receipts)).receipts
        assert unpack_receipts(pack_receipts(answer)) == answer
        status = pretty(_fields(office.office.statuses["out", exchange]))
        assert len(status) < MAX_STATUS * 0.7
        print(  # noqa: T201  # the figures
            f"{gateways} gateways: transmittal {len(row.transmittal)}, cover {len(largest.cover)}, answer {len(pack_receipts(answer))}, "
            f"status {len(status)} bytes"
        )
