"""A peer that sends bad requests for ever causes some leaves a minute and one that counts the rest: nothing silent, nothing flooded."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.core.errors import NoRoom
from gateway.core.leaf import Leaf
from gateway.flow.complaints import LEAVES_A_MINUTE
from gateway.flow.ports import SignedReceipt
from tests.flow.test_arrivals import intercepted
from tests.flow.test_time import PAIR
from tests.flow.world import World

MANY = 3 * LEAVES_A_MINUTE


async def summed_up(node) -> list[tuple[str, int]]:
    """Who caused how many more, by the log."""
    found, index = [], 0
    while (body := await node.rooms.ledger.leaf(index)) is not None:
        leaf = Leaf.from_bytes(body)
        if leaf.outcome == "summed-up":
            found.append((leaf.src, leaf.size))
        index += 1
    return found


async def written(node, kind: str) -> int:
    return sum(gist.startswith(kind) for gist in await node.log())


async def test_bad_arrivals_are_written_sixty_times_and_then_counted(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        stranger, finance = await intercepted(world), world["finance"]
        for _ in range(MANY):
            assert await stranger.tries(b"rubbish") == "malformed"
        assert await written(finance, "refused:malformed") == LEAVES_A_MINUTE
        assert finance.gauges.refusals["malformed"] == MANY, "metrics count every one"
        await finance.journey.taking.complaints.sum_up()
        assert await summed_up(finance) == [], "the minute is not over"
        world.time.pass_(timedelta(minutes=1))
        await finance.journey.taking.complaints.sum_up()
        assert await summed_up(finance) == [(stranger.peer, MANY - LEAVES_A_MINUTE)]
        await finance.journey.taking.complaints.sum_up()
        assert len(await summed_up(finance)) == 1
        assert await stranger.tries(b"rubbish") == "malformed"
        assert await written(finance, "refused:malformed") == LEAVES_A_MINUTE + 1, "a new minute begins"


async def test_the_next_minute_sums_up_the_one_before(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        stranger, finance = await intercepted(world), world["finance"]
        for _ in range(LEAVES_A_MINUTE + 2):
            await stranger.tries(b"rubbish")
        world.time.pass_(timedelta(minutes=2))
        await stranger.tries(b"rubbish")
        assert await summed_up(finance) == [(stranger.peer, 2)]


async def test_receipts_that_state_nothing_count_with_it(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        for number in range(MANY):
            await office.journey.inbound.receipts(finance.gateway, (SignedReceipt(body=b"%d" % number, signature=b""),))
        assert await written(office, "not-entitled") == LEAVES_A_MINUTE
        await office.journey.stopped()
        assert await summed_up(office) == [(finance.gateway, MANY - LEAVES_A_MINUTE)], "said before the last leaf"
        assert (await office.log())[-1] == "stopped"


async def test_each_peer_has_a_minute_of_its_own(tmp_path):
    async with World(tmp_path) as world:
        finance = world["finance"]
        stranger = await intercepted(world)
        for _ in range(LEAVES_A_MINUTE + 1):
            await stranger.tries(b"rubbish")
        before = await written(finance, "refused:malformed")
        await stranger.tries(b"rubbish", peer=world["health"].gateway)
        assert await written(finance, "refused:malformed") == before + 1


async def test_a_sum_that_finds_no_room_is_said_later(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        stranger, finance = await intercepted(world), world["finance"]
        for _ in range(LEAVES_A_MINUTE + 5):
            await stranger.tries(b"rubbish")
        finance.fill_disk()
        with pytest.raises(NoRoom):
            await finance.journey.taking.complaints.sum_up(now=True)
        finance.free_disk()
        await finance.journey.taking.complaints.sum_up(now=True)
        assert await summed_up(finance) == [(stranger.peer, 5)]
