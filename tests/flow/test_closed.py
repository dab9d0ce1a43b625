"""Fail closed: what forbids taking also forbids accepting and being ready, under one word, and ends when its cause does."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from crypto.suites import GM_1, INTL_1
from gateway.core.errors import ProblemError
from gateway.readings import NotReadyReasons
from tests.crypto.pki import pki_for
from tests.flow.test_arrivals import intercepted
from tests.flow.test_time import PAIR, unreached
from tests.flow.world import World


def readiness(node) -> list[str]:
    return [reason.code for reason in NotReadyReasons(node.rooms)()]


async def refused_both_ways(world, stranger, node, word: str):
    """Nothing is taken from the tray, nothing let in, no upload goes on, and operators see the same word."""
    assert readiness(node)[0] == word
    node.office.tray.clear()
    node.approve(f"while {word}", "关于试点的通知", world["office"].code if node is not world["office"] else world["finance"].code)
    before = await node.rooms.ledger.exchanges()
    await world.settle()
    assert await node.rooms.ledger.exchanges() == before
    assert f"while {word}" in node.office.tray
    assert await stranger.tries() == word
    with pytest.raises(ProblemError) as problem:
        await node.journey.inbound.append(stranger.peer, stranger.exchange, "sha256:" + "0" * 64, 0, _nothing())
    assert problem.value.problem == word


async def _nothing():
    return
    yield b""


@contextmanager
def expired_directory(world, node):
    """Its directory was good for less long than everybody else's."""
    directory = node.rooms.standing.directory
    expires, directory.expires = directory.expires, world.time.now() - timedelta(seconds=1)
    yield
    directory.expires = expires


@contextmanager
def full_disk(_world, node):
    node.fill_disk()
    yield
    node.free_disk()


@contextmanager
def stale_lists(world, node):
    good = node.trust
    node.believe(replace(good, crls=world.pki.crls_after(now=world.time.now() - timedelta(days=8), days=7)))
    yield
    node.believe(good)


@pytest.mark.parametrize(
    ("close", "word"),
    [(expired_directory, "directory-expired"), (full_disk, "no-room"), (stale_lists, "crl-stale")],
    ids=("directory", "disk", "lists"),
)
async def test_what_forbids_one_forbids_all(tmp_path, close, word):
    async with World(tmp_path, keys=PAIR) as world:
        stranger = await intercepted(world)
        finance = world["finance"]
        assert readiness(finance) == []
        with close(world, finance):
            await refused_both_ways(world, stranger, finance, word)
        assert readiness(finance) == []
        await stranger.finance.rooms.ledger.exchanges()
        finance.office.tray.clear()
        await stranger.then_the_true_one_passes()


async def test_nothing_is_sealed_under_an_expired_directory(tmp_path):
    """A large document is taken, then the directory runs out before its seal."""
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        world.authority.silent = True
        office.approve("large", "关于试点的通知", world["finance"].code)
        await world.settle()
        exchange = office.exchange_of("large")
        assert await office.state("out", exchange) == "TAKEN"
        world.authority.silent = False
        with expired_directory(world, office):
            await world.retry()
            assert await office.state("out", exchange) == "TAKEN"
            assert office.line.offered == []
        await world.retry()
        assert await office.state("out", exchange) == "DELIVERED"


async def test_nothing_is_sent_under_an_expired_directory(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        exchange = await unreached(world)
        office.line.down.clear()
        sent = len(office.line.offered)
        with expired_directory(world, office):
            await world.retry()
            assert len(office.line.offered) == sent
            assert await office.state("out", exchange) == "SEALED"
        await world.retry()
        assert await office.state("out", exchange) == "DELIVERED"


async def test_no_receipt_leaves_or_counts_under_an_expired_directory(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        finance.line.down.add(office.gateway)
        exchange = await world.send()
        assert await office.state("out", exchange) == "CONSIGNED"
        finance.line.down.clear()
        with expired_directory(world, finance):
            await world.retry()
            assert finance.line.receipts == []
        with expired_directory(world, office):
            await world.retry()
            assert finance.line.receipts
            assert await office.state("out", exchange) == "CONSIGNED"
            assert "not-entitled" not in " ".join(await office.log()), "our own trouble is nobody's fault"
        await world.retry()
        assert await office.state("out", exchange) == "DELIVERED"


async def test_a_signing_certificate_that_is_over_is_told_to_operators(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        office.believe(world.pki.trust_after([(office.signing.certificate, world.time.now(), "keyCompromise")], now=world.time.now()))
        assert readiness(office) == ["signer"]


async def test_a_certificate_of_one_suite_stops_that_suite_alone(tmp_path):
    """Two suites, and what signs in one of them is believed by nobody: the other goes on."""
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        stranger = await intercepted(world)
        good = finance.rooms.standing.signers
        unbelieved = pki_for(GM_1).finance.signing.signer
        finance.rooms.standing.signers = {**good, GM_1.id: unbelieved}
        assert readiness(finance) == []
        finance.rooms.standing.signers = {GM_1.id: good[INTL_1.id]}
        assert await stranger.tries() == "internal", "there is nothing to sign a receipt with"
        await stranger.found_nothing()
        finance.rooms.standing.signers = {**good, GM_1.id: unbelieved}
        office.line.down.clear()
        await world.retry()
        assert await office.state("out", stranger.exchange) == "DELIVERED"
