"""An exchange is found by what a person types of it, and never guessed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core.errors import BadInput
from gateway.core.exchange import State
from gateway.core.leaf import LeafKind
from gateway.core.step import Step
from gateway.reading import find_exchange
from tests.store.world import HEALTH, OFFICE, Paper, Store, leaf


@pytest.fixture
async def ledger(tmp_path):
    """One exchange we sent, one under the same id that health sent us, and another of office."""
    store = Store(tmp_path)
    journal, reader = store.journal(), store.ledger()
    paper = Paper(id="019cadf8-1c00-7abc-8def-000000000001")
    stranger = replace(paper.opening("in", State.ACCEPTED), sender_org=HEALTH)
    for step in (
        paper.take(),
        Step(changes=(stranger,), leaves=(leaf(LeafKind.ACCEPTED, paper.id, sender=HEALTH),)),
        Paper(id="019cadf8-1c00-7abc-8def-000000000002").accept(),
    ):
        await journal.record(step)
    yield reader
    reader.close()
    journal.close()


async def test_one_that_begins_so(ledger):
    assert (await find_exchange(ledger, "019cadf8-1c00-7abc-8def-000000000002")).sender_org == OFFICE


async def test_two_senders_of_one_id_are_named_and_either_can_be_chosen(ledger):
    exchange = "019cadf8-1c00-7abc-8def-000000000001"
    with pytest.raises(BadInput) as refused:
        await find_exchange(ledger, exchange)
    (reason,) = refused.value.reasons
    assert reason.rule == "cli/ambiguous-exchange"
    assert f"{exchange}-{OFFICE}" in reason.en
    assert f"{exchange}-{HEALTH}" in reason.en
    assert (await find_exchange(ledger, f"{exchange}-{OFFICE}")).direction == "out"
    found = await find_exchange(ledger, f"{exchange}-{HEALTH}")
    assert (found.direction, found.sender_org) == ("in", HEALTH)


@pytest.mark.parametrize("asked", ["", "z", "019cadf8-1c00-7abc-8def-000000000003"])
async def test_what_is_not_there(ledger, asked):
    with pytest.raises(BadInput) as refused:
        await find_exchange(ledger, asked)
    assert refused.value.reasons[0].rule == "cli/unknown-exchange"
