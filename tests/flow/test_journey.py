"""The journey from tray to receipt, on good days: real gateways, real keys, one process."""

from __future__ import annotations

import pytest

from crypto.suites import GM_1, INTL_1
from tests.flow.world import World


@pytest.mark.parametrize("suite", [GM_1, INTL_1], ids=str)
async def test_a_document_crosses_and_is_signed_for(tmp_path, suite):
    async with World(tmp_path, suite=suite, keys=("office", "finance")) as world:
        office, finance = world["office"], world["finance"]
        exchange = await world.send()
        assert await office.state("out", exchange) == "DELIVERED"
        assert await finance.state("in", exchange) == "DELIVERED"
        finance.office.sign_for(exchange)
        await world.settle()
        assert await office.state("out", exchange) == "SIGNED_FOR"
        assert await finance.state("in", exchange) == "SIGNED_FOR"
        assert await office.events("out", exchange) == ["ContentConsignment", "ContentHandover", "SignedFor"]
        assert finance.delivered(exchange) == tuple(b"".join(part.read()) for part in office.office.sent[exchange].parts)
        assert await office.works() == await finance.works() == []
