"""What operators count: every state a passage reaches, with its level; every stage's time; uploads and the log as they are."""

from __future__ import annotations

from types import SimpleNamespace

from crypto.notes import Checkpoint
from gateway.readings import Readings
from tests.flow.test_receipts import hand, signed
from tests.flow.test_time import NO_ROUTE, PAIR, expire, unreached
from tests.flow.test_uploads import LARGE, MIB, send_large
from tests.flow.world import Fault, World


def reached(node) -> list[str]:
    return [state for _, state, *_ in node.gauges.outcomes]


def levels(node) -> set[str]:
    return {level for _, _, level, _ in node.gauges.outcomes}


async def test_every_state_of_every_passage_is_counted_with_its_level(tmp_path):
    async with World(tmp_path) as world:
        office, finance = world["office"], world["finance"]
        exchange = await world.send(to=("finance", "health"))
        finance.office.sign_for(exchange)
        await world.settle()
        states = reached(office)
        assert {state: states.count(state) for state in states} == {
            "TAKEN": 2,
            "SEALED": 2,
            "CONSIGNED": 2,
            "DELIVERED": 2,
            "SIGNED_FOR": 1,
        }
        assert levels(office) == levels(finance) == {"internal"}
        assert reached(finance) == ["ACCEPTED", "DELIVERED", "SIGNED_FOR"]


async def test_a_large_document_is_counted_when_it_is_taken_and_when_it_is_sealed(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        await send_large(world)
        assert reached(office) == ["TAKEN", "SEALED", "CONSIGNED", "DELIVERED"]
        assert office.gauges.stages["seal"] == 1


async def test_the_time_of_a_seal_put_on_at_once_is_measured(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        await world.send()
        assert world["office"].gauges.stages["seal"] == 1


async def test_a_receipt_that_comes_late_is_counted_where_it_moves_something(tmp_path):
    """DELIVERED before CONSIGNED: one move, and what is implied moves nothing."""
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        finance.line.down.add(office.gateway)
        office.line.faults.append(Fault(kind="reply-lost"))
        exchange = await world.send()
        office.line.down.add(finance.gateway)
        consigned, handed_over, *_ = [signed(row) for row in await finance.receipts("in", exchange)]
        office.gauges.outcomes.clear()
        await hand(world, handed_over)
        await hand(world, consigned)
        assert office.gauges.outcomes == [("out", "DELIVERED", "internal", finance.gateway)]


async def test_what_policy_stops_before_it_was_sent_is_counted(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        await unreached(world)
        office.gauges.outcomes.clear()
        office.enact(*NO_ROUTE)
        office.line.down.clear()
        await world.retry()
        assert office.gauges.outcomes == [("out", "REFUSED", "internal", world["finance"].gateway)]
        await expire(office)


async def test_readings_know_uploads_and_the_logs_own_name(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        finance = world["finance"]
        await send_large(world, Fault(kind="cut", after=MIB))
        certificates = SimpleNamespace(certificate=lambda _: finance.signing.certificate, data=finance.home)
        readings = await Readings(certificates, finance.rooms).collect()
        assert readings.open_uploads == 1
        checkpoint = await finance.rooms.ledger.latest_checkpoint()
        assert readings.log_sizes == {finance.origin: checkpoint.size}
        assert Checkpoint.from_text(checkpoint.note.decode().rpartition("\n\n")[0] + "\n").origin == finance.origin
        await world.retry()
        assert (await Readings(certificates, finance.rooms).collect()).open_uploads == 0
        assert len(LARGE) > MIB
