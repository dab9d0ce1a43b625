"""Nothing is a dead end: what an operator may do about a stuck exchange, from every state, and what the table forbids."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from gateway.core.errors import BadInput, PeerProblem
from gateway.core.exchange import State
from gateway.core.leaf import Leaf
from gateway.core.step import Work
from gateway.flow.queue import ENDABLE, Operator, Request, possible_acts
from tests.flow.test_time import NO_ROUTE
from tests.flow.world import Node, World

WANG = Operator(account="wang", proof="local-socket")


async def act(node: Node, name: str, item: str, to: str = ""):
    return await node.journey.queue.act(Request(act=name, item=item, to=to), WANG)


async def refused(node: Node, name: str, item: str, to: str = "") -> list[str]:
    with pytest.raises(BadInput) as caught:
        await act(node, name, item, to)
    return [reason.rule for reason in caught.value.facts["reasons"]]


async def stuck(world: World, *, to=("finance",)) -> str:
    """A document whose peer was silent until its attempts were used up."""
    office = world["office"]
    for key in to:
        office.line.down.add(world[key].gateway)
    exchange = await world.send(to=to)
    for key in to:
        gateway = world[key].gateway
        work = next(work for work in office.put_off.values() if work.peer == gateway)
        await office.journey.delivering.give_up(work, PeerProblem("gone", problem="not-listed", retryable=False))
    await world.settle()
    return exchange


async def last_leaf(node: Node, exchange: str, kind: str) -> Leaf:
    leaves = [Leaf.from_bytes(body) for _, body in await node.rooms.ledger.leaves((await node.rooms.ledger.beginning(exchange))[0].key)]
    return [leaf for leaf in leaves if leaf.kind == kind][-1]


async def test_retry_brings_a_stuck_document_back_on_the_way(tmp_path: Path):
    async with World(tmp_path) as world:
        office, finance = world["office"], world["finance"]
        exchange = await stuck(world)
        assert await office.state("out", exchange) == "STUCK"
        assert office.office.statuses["out", exchange].recipients[0].reasons[0].rule == "queue/peer-says"
        office.line.down.clear()
        outcome = await act(office, "retry", exchange[:20])
        assert [(done.recipient, done.before, done.after) for done in outcome.done] == [(finance.code, "STUCK", "SEALED")]
        leaf = await last_leaf(office, exchange, "retried")
        assert (leaf.actor.role, leaf.actor.auth, leaf.recipient) == ("operator", "local-socket", finance.code)
        assert leaf.actor.id.startswith("a-")
        assert "wang" not in leaf.actor.id
        await world.settle()
        assert await office.state("out", exchange) == "DELIVERED"
        assert len(finance.office.inbox) == 1
        assert await refused(office, "retry", exchange) == ["queue/recipient-spoke"]


async def test_retry_puts_what_backs_off_due_at_once(tmp_path: Path):
    async with World(tmp_path) as world:
        office = world["office"]
        office.line.down.add(world["finance"].gateway)
        exchange = await world.send()
        office.line.down.clear()
        (key,) = (key for key in office.put_off if key.startswith("deliver:"))
        later = office.put_off[key]
        office.rooms.agenda.add(Work(**{**_fields(later), "due": later.due + timedelta(hours=1)}))
        outcome = await act(office, "retry", exchange)
        assert [(done.before, done.after) for done in outcome.done] == [("SEALED", "SEALED")]
        await world.settle()
        assert await office.state("out", exchange) == "DELIVERED"


def _fields(work: Work) -> dict:
    return {name: getattr(work, name) for name in Work.__dataclass_fields__}


async def test_return_gives_it_back_with_reasons_and_the_recipient_s_word_still_wins(tmp_path: Path):
    async with World(tmp_path) as world:
        office, finance = world["office"], world["finance"]
        exchange = await stuck(world)
        outcome = await act(office, "return", exchange)
        assert [(done.before, done.after) for done in outcome.done] == [("STUCK", "EXPIRED")]
        await world.settle()
        status = office.office.statuses["out", exchange]
        assert [reason.rule for reason in status.reasons] == ["queue/given-back", "queue/peer-says"]
        assert (await last_leaf(office, exchange, "expired")).reason == "given-back"
        assert await office.works() == []
        assert await refused(office, "return", exchange) == ["queue/not-from"]
        assert await refused(office, "retry", exchange) == ["queue/not-from"]
        # It had arrived after all: the presumption gives way.
        office.line.down.clear()
        _, parcel = office.line.offered[-1]
        answer = await finance.journey.inbound.offer(office.gateway, parcel.cover, parcel.inline)
        await office.journey.inbound.receipts(finance.gateway, answer.receipts)
        assert await office.state("out", exchange) == "CONSIGNED"
        await world.settle()


async def test_what_never_left_is_refused_back_to_the_office(tmp_path: Path):
    async with World(tmp_path) as world:
        office = world["office"]
        world.authority.silent = True
        exchange = await world.send()
        assert await office.state("out", exchange) == "TAKEN"
        assert await refused(office, "return", exchange, world["finance"].code) == ["queue/only-whole"]
        outcome = await act(office, "return", exchange)
        assert [(done.before, done.after) for done in outcome.done] == [("TAKEN", "REFUSED")]
        assert office.scratch_bytes() == 0
        world.authority.silent = False
        await world.retry()
        assert await office.state("out", exchange) == "REFUSED"
        assert await office.works() == []
        assert office.office.statuses["out", exchange].reasons[0].rule == "queue/given-back"


async def test_expire_ends_the_wait_early(tmp_path: Path):
    async with World(tmp_path) as world:
        office = world["office"]
        office.line.down.add(world["finance"].gateway)
        exchange = await world.send()
        assert [done.before for done in (await act(office, "expire", exchange)).done] == ["SEALED"]
        await world.settle()
        assert await office.events("out", exchange) == ["RelayFailure"]
        assert await office.works() == []
        leaf = await last_leaf(office, exchange, "expired")
        assert (leaf.reason, leaf.actor.role) == ("ended-early", "operator")


async def test_one_recipient_stuck_holds_nobody_and_is_treated_alone(tmp_path: Path):
    async with World(tmp_path) as world:
        office, finance, health = world["office"], world["finance"], world["health"]
        office.line.down.add(finance.gateway)
        exchange = await world.send(to=("finance", "health"))
        assert await office.state("out", exchange, health.code) == "DELIVERED"
        work = next(work for work in office.put_off.values() if work.peer == finance.gateway)
        await office.journey.delivering.give_up(work, PeerProblem("gone", problem="not-listed", retryable=False))
        await world.settle()
        shown = {each.org: each for each in office.office.statuses["out", exchange].recipients}
        assert (shown[finance.code].state, shown[health.code].state) == ("STUCK", "DELIVERED")
        assert shown[finance.code].reasons
        assert not shown[health.code].reasons
        outcome = await act(office, "return", exchange)
        assert [done.recipient for done in outcome.done] == [finance.code]
        assert [(reason.rule, reason.at) for reason in outcome.left] == [("queue/recipient-spoke", health.code)]
        assert await refused(office, "expire", exchange, health.code) == ["queue/recipient-spoke"]
        assert await refused(office, "retry", exchange, office.code) == ["queue/no-such-recipient"]


async def test_what_came_in_is_not_given_back_and_what_is_not_there_is_unknown(tmp_path: Path):
    async with World(tmp_path) as world:
        exchange = await world.send()
        finance = world["finance"]
        assert await refused(finance, "return", exchange) == ["queue/not-sent-here"]
        assert await refused(finance, "retry", exchange) == ["queue/nothing-waits"]
        assert await refused(finance, "retry", "01900000-none") == ["queue/unknown"]


async def test_retry_after_a_restart_is_the_same_act(tmp_path: Path):
    async with World(tmp_path) as world:
        office = world["office"]
        exchange = await stuck(world)
        office.line.down.clear()
        await office.journey.queue.act(Request(act="retry", item=exchange), WANG)
        await office.restart()
        await world.settle()
        assert await office.state("out", exchange) == "DELIVERED"


@pytest.mark.parametrize("state", list(State))
def test_what_is_offered_is_what_the_table_has(state: State):
    acts = possible_acts(state, sealed=True)
    assert ("expire" in acts) == ("return" in acts) == (state in ENDABLE)
    if state in (State.CONSIGNED, State.DELIVERED, State.SIGNED_FOR, State.EXPIRED):
        assert acts == ()


async def test_a_document_refused_after_it_was_taken_shows_why(tmp_path: Path):
    async with World(tmp_path) as world:
        office = world["office"]
        world.authority.silent = True
        exchange = await world.send()
        first = office.office.statuses.get(("out", exchange))
        office.enact(*NO_ROUTE)
        world.authority.silent = False
        await world.retry()
        status = office.office.statuses["out", exchange]
        assert await office.state("out", exchange) == "REFUSED"
        assert [reason.rule for reason in status.reasons] == ["routes"]
        assert first is None or first.reasons != status.reasons
        assert [reason.rule for reason in status.recipients[0].reasons] == ["routes"]
