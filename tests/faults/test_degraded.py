"""Something is away: what each level may do by policy, a restart in the middle, the end of its time, and going on by itself.

The same story for each mode, told in the small world: it begins → the forgiven level goes on and says so, the strict one waits → the
gateway dies and lives again, and no time is won by it → the time is over and nothing is taken or accepted → what was away is back, and
everything that waited arrives. Nothing is lost: offers wait in the tray, arrivals at their senders.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace

import pytest

from gateway.cli.doctor import _value
from gateway.core.errors import ProblemError
from gateway.core.policy import MODES
from gateway.doctor import Diagnosis, _degraded
from gateway.flow.degraded import Absence, Stand
from gateway.flow.degraded_log import KEPT_AS, kept_from
from gateway.readings import Absences, NotReadyReasons
from tests.faults.torture import rounds
from tests.flow.conftest import tmp_path
from tests.flow.world import Node, World

__all__ = ["tmp_path"]  # homes in memory, as for the other tests of the small world

PAIR = ("office", "finance")
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
LISTS_LEFT = 7 * DAY - HOUR  # of the world's revocation lists when it begins
PLAIN = """time_authority = "wait"
time_authority_wait = "1h"
clock_confirmation = "1h"
"""


def table(level: str, text: str) -> tuple[str, str]:
    """A change of policy: this level's table says so instead."""
    return f"[degraded.{level}]\n{PLAIN}", f"[degraded.{level}]\n{text}"


def absence(node: Node, mode: str) -> Absence:
    found = [each for each in node.rooms.degraded.absences() if each.mode == mode]
    assert len(found) == 1, node.rooms.degraded.absences()
    return found[0]


def away(node: Node) -> list[str]:
    return [each.mode for each in node.rooms.degraded.absences()]


def stand(node: Node, mode: str, level: str) -> Stand:
    return next(each for each in absence(node, mode).stands if each.level == level)


async def look(*nodes: Node) -> None:
    for node in nodes:
        await node.journey.degraded.look()


async def told(node: Node) -> list[tuple[str, str, str]]:
    """(mode, level, outcome) of every degraded leaf."""
    from gateway.core.leaf import Leaf, LeafKind

    found, index = [], 0
    while (data := await node.rooms.ledger.leaf(index)) is not None:
        leaf = Leaf.from_bytes(data)
        if leaf.kind is LeafKind.DEGRADED:
            assert leaf.since is not None
            assert (leaf.until is not None) == (leaf.outcome != "ended" and leaf.reason != "disk-low")
            found.append((leaf.reason or "", leaf.level or "", leaf.outcome))
        index += 1
    return found


async def offer(world: World, source: str, level: str, *, urgency: str = "routine", sender: str = "office", to: str = "finance") -> None:
    world[sender].approve(source, f"关于{source}的通知", world[to].code, level=level, urgency=urgency)
    await world.settle()


def waits(node: Node, source: str) -> bool:
    return source in node.office.tray


async def state(node: Node, source: str) -> str:
    return await node.state("out", node.exchange_of(source))


async def all_delivered(node: Node, *sources: str) -> None:
    assert not node.office.tray
    for source in sources:
        assert await state(node, source) == "DELIVERED", source


# ---- revocation lists ------------------------------------------------------------------------------------------------------------


async def test_a_revocation_list_that_is_over(tmp_path):
    """Public may go on for six hours, internal for none. The sender's lists are over, the recipient's are not."""
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        office.enact(table("public", 'crl_grace = "6h"\n'))
        world.time.pass_(LISTS_LEFT + HOUR)
        finance.believe(world.pki.trust_after(now=world.time.now()))
        assert await office.stamp()
        assert await finance.stamp()
        await look(office)
        await offer(world, "open", "public")
        await offer(world, "inner", "internal")
        assert await state(office, "open") == "DELIVERED"
        leaves = await office.leaves(office.exchange_of("open"))
        assert leaves[:2] == ["taken:grace.crl-stale", "sealed:grace.crl-stale"]
        assert waits(office, "inner")
        began = absence(office, "crl-stale")
        left = stand(office, "crl-stale", "public").left
        assert left is not None
        assert 4.9 * 3600 < left < 5 * 3600
        assert stand(office, "crl-stale", "internal").stopped
        assert office.rooms.ready(), "one level goes on"

        await office.restart()
        assert absence(office, "crl-stale").since == began.since
        assert (stand(office, "crl-stale", "public").left or 0) <= left
        await world.settle()
        assert waits(office, "inner")

        world.time.pass_(5 * HOUR)
        await look(office)
        assert stand(office, "crl-stale", "public") == Stand(level="public", until=began.since + 6 * HOUR, left=0.0, stopped=True)
        await offer(world, "late", "public")
        assert waits(office, "late")
        assert not office.rooms.ready()

        for node in (office, finance):
            node.believe(world.pki.trust_after(now=world.time.now()))
            assert await node.stamp()
        await world.settle()
        await all_delivered(office, "open", "inner", "late")
        await look(office)
        told_of = [each for each in await told(office) if each[0] == "crl-stale"]
        assert told_of == [
            *(("crl-stale", level, "began") for level in ("public", "internal", "work-secret")),
            ("crl-stale", "public", "over"),
            *(("crl-stale", level, "ended") for level in ("public", "internal", "work-secret")),
        ]


async def test_arrivals_where_the_recipients_list_is_over(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        finance.enact(table("public", 'crl_grace = "6h"\n'))
        world.time.pass_(LISTS_LEFT + HOUR)
        office.believe(world.pki.trust_after(now=world.time.now()))
        for node in (office, finance):
            assert await node.stamp()
        await offer(world, "open", "public")
        await offer(world, "inner", "internal")
        assert await state(office, "open") == "DELIVERED"
        assert "accepted:grace.crl-stale" in await finance.leaves(office.exchange_of("open"))
        assert await state(office, "inner") == "SEALED"
        assert {answer.problem for answer in office.line.answers if isinstance(answer, ProblemError)} == {"crl-stale"}
        await finance.restart()
        world.time.pass_(5 * HOUR + MINUTE)
        assert not await finance.stamp()
        assert await office.stamp()
        await offer(world, "late", "public")
        await world.retry()
        assert {await state(office, "inner"), await state(office, "late")} == {"SEALED"}
        finance.believe(office.trust)
        assert await finance.stamp()
        await world.retry()
        await all_delivered(office, "open", "inner", "late")


# ---- directory -------------------------------------------------------------------------------------------------------------------


async def test_a_directory_that_ended(tmp_path):
    """Both sides have it; public may act by it for twelve hours more."""
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        world.publish(life=DAY)
        for node in (office, finance):
            await node.adopt()
            node.enact(table("public", 'directory_grace = "12h"\n'))
        world.time.pass_(DAY + HOUR)
        for node in (office, finance):
            assert await node.stamp()
        await look(office)
        await offer(world, "open", "public")
        await offer(world, "inner", "internal")
        assert await state(office, "open") == "DELIVERED"
        assert "taken:grace.directory-expired" in await office.leaves(office.exchange_of("open"))
        assert "accepted:grace.directory-expired" in await finance.leaves(office.exchange_of("open"))
        assert waits(office, "inner")
        began, left = absence(office, "directory-expired").since, stand(office, "directory-expired", "public").left
        for node in (office, finance):
            await node.restart()
        assert absence(office, "directory-expired").since == began
        assert (stand(office, "directory-expired", "public").left or 0) <= (left or 0)
        world.time.pass_(11 * HOUR)
        for node in (office, finance):
            assert await node.stamp()
        await offer(world, "late", "public")
        assert waits(office, "late")
        assert not office.rooms.ready()
        world.publish()
        for node in (office, finance):
            await node.adopt()
        await world.settle()
        await all_delivered(office, "open", "inner", "late")
        assert "directory-expired" not in away(office)


# ---- time authority --------------------------------------------------------------------------------------------------------------


async def test_a_silent_time_authority(tmp_path):
    """Public offers are taken for an hour and wait for their token, internal ones for half of it, work secrets not at all."""
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        office.enact(table("internal", 'time_authority_wait = "30min"\n'), table("work-secret", "strict = true\n"))
        world.authority.silent = True
        assert not await office.stamp()
        await look(office)
        began = absence(office, "time-authority").since
        for level in ("public", "internal", "work-secret"):
            await offer(world, level, level)
        assert [await state(office, level) for level in ("public", "internal")] == ["TAKEN", "TAKEN"]
        assert await office.leaves(office.exchange_of("public")) == ["taken:grace.time-authority"]
        assert waits(office, "work-secret")
        world.time.pass_(31 * MINUTE)
        await look(office)
        await offer(world, "internal late", "internal")
        await offer(world, "public late", "public")
        assert waits(office, "internal late")
        assert await state(office, "public late") == "TAKEN"

        await office.restart()
        assert absence(office, "time-authority").since == began
        assert {each.stopped for each in absence(office, "time-authority").stands} == {True}, "after a restart nobody confirmed the clock"
        await offer(world, "public too late", "public")
        assert waits(office, "public too late")

        world.authority.silent = False
        assert await office.stamp()
        await world.retry()
        await all_delivered(office, "public", "internal", "work-secret", "internal late", "public late", "public too late")
        await look(office)
        assert away(office) == []
        assert [outcome for mode, level, outcome in await told(office) if (mode, level) == ("time-authority", "internal")] == [
            "began",
            "over",
            "ended",
        ]


async def test_going_on_without_a_timestamp(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        for node in world.nodes:
            node.enact(("timestamp = true", "timestamp = false"), table("public", 'time_authority = "go-on"\n'))
        world.authority.silent = True
        assert not await office.stamp()
        await offer(world, "open", "public")
        await offer(world, "inner", "internal")
        assert await state(office, "open") == "DELIVERED"
        assert waits(office, "inner"), "what policy does not name waits, even where no timestamp is needed"
        world.time.pass_(61 * MINUTE)
        await offer(world, "late", "public")
        assert waits(office, "late"), "nobody vouches for the clock any more"
        world.authority.silent = False
        for node in world.nodes:
            assert await node.stamp()
        await world.settle()
        await all_delivered(office, "open", "inner", "late")


async def test_an_authority_that_gives_bad_tokens_is_away(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        world.authority.edit = lambda response: response[:-1] + bytes((response[-1] ^ 1,))
        assert not await office.stamp()
        assert "time-authority" in away(office)
        world.authority.edit = lambda response: response
        assert await office.stamp()
        assert "time-authority" not in away(office)


# ---- clock -----------------------------------------------------------------------------------------------------------------------


async def test_a_clock_nobody_confirms(tmp_path):
    """No grace: a level whose tokens count for twenty minutes stops after them, the other after an hour."""
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        short = 'clock_confirmation = "20min"\n'
        office.enact(table("internal", short), table("work-secret", short))
        world.time.pass_(21 * MINUTE)
        await look(office)
        await offer(world, "inner", "internal")
        assert waits(office, "inner")
        await offer(world, "open", "public")
        assert await state(office, "open") == "DELIVERED"  # and its token confirmed the clock
        await world.settle()
        await all_delivered(office, "open", "inner")
        world.authority.silent = True
        await office.restart()
        await offer(world, "late", "public")
        assert waits(office, "late")
        assert {each.stopped for each in absence(office, "clock").stands} == {True}
        world.authority.silent = False
        assert await office.stamp()
        await world.settle()
        await all_delivered(office, "late")


async def test_no_step_of_the_clock_wins_time(tmp_path):
    """Whatever the clock is set to while nobody confirms it, a countdown never goes up, and nothing is taken."""
    async with World(tmp_path, keys=("office", "finance")) as world:
        office = world["office"]
        dice = random.Random(7)
        world.authority.silent = True
        assert not await office.stamp()
        await look(office)
        left = stand(office, "time-authority", "public").left or 0.0
        for turn in range(rounds(60, 2000)):
            office.clock.skew = timedelta(seconds=dice.choice((-1, 1)) * dice.uniform(3, 90_000))
            world.time.pass_(timedelta(seconds=dice.uniform(0, 20)))
            now = stand(office, "time-authority", "public").left or 0.0
            assert now <= left, f"turn {turn}: {left} s became {now} s"
            left = now
            assert not office.rooms.ready()
        office.clock.skew = timedelta(0)
        world.authority.silent = False
        assert await office.stamp()
        assert away(office) == []


# ---- keys ------------------------------------------------------------------------------------------------------------------------


async def test_a_signing_key_that_is_away(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        await offer(world, "before", "public")
        for node in (office, finance):
            node.lose_key()
        await look(office)
        await offer(world, "waiting", "public")
        assert waits(office, "waiting")
        assert [reason.code for reason in NotReadyReasons(office.rooms)()] == ["signer"]
        since = absence(office, "key-away").since
        await office.restart()
        assert abs(absence(office, "key-away").since - since) < MINUTE
        assert absence(office, "key-away").subject == world.suite.id
        await world.settle()
        assert waits(office, "waiting")
        office.key_away = False
        await office.journey.watching.call_keys()
        await world.settle()
        assert await state(office, "waiting") == "SEALED", "over there nobody could sign for it"
        assert isinstance(office.line.answers[-1], ProblemError)
        assert office.line.answers[-1].problem == "internal"
        finance.key_away = False
        await finance.journey.watching.call_keys()
        await world.retry()
        await all_delivered(office, "before", "waiting")
        assert away(office) == []


async def test_a_revoked_certificate_of_ours_has_no_grace(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        office.enact(table("public", 'crl_grace = "24h"\n'))
        await world.pass_(HOUR, revoked=[(office.signing.certificate, world.time.now(), "keyCompromise")])
        await look(office)
        assert away(office) == ["key-away"]
        assert {each.stopped for each in absence(office, "key-away").stands} == {True}
        await offer(world, "open", "public")
        assert waits(office, "open")


# ---- disk ------------------------------------------------------------------------------------------------------------------------


@contextmanager
def less_room(node: Node) -> Iterator[None]:
    """Three quarters of what is free are promised to somebody."""
    size = node.rooms.blobs.free() * 3 // 4
    node.rooms.blobs.headroom.promise(size)  # type: ignore[attr-defined]
    headroom = node.rooms.blobs.headroom  # type: ignore[attr-defined]
    try:
        yield
    finally:
        headroom.settle(size)


async def test_a_disk_that_is_getting_full(tmp_path):
    """Large documents wait first, then ordinary ones; what is urgent goes on to the head-room."""
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        half = office.rooms.blobs.free() // 2
        limits = f'disk_large = "2MiB"\ndisk_large_waits = "{half}B"\n'
        office.enact(table("public", limits), table("internal", f'{limits}disk_routine_waits = "{half}B"\n'))
        large = [("正文.pdf", b"\x00" * (2 * 1024 * 1024))]
        with less_room(office):
            await look(office)
            assert [each.level for each in absence(office, "disk-low").stands] == ["public", "internal"]
            office.approve("large", "大", finance.code, level="public", parts=large)
            await offer(world, "small", "public")
            await offer(world, "routine", "internal")
            await offer(world, "flash", "internal", urgency="flash")
            assert await state(office, "small") == await state(office, "flash") == "DELIVERED"
            assert waits(office, "large")
            assert waits(office, "routine")
        await office.restart()
        assert "disk-low" not in away(office)
        await world.settle()
        await all_delivered(office, "large", "small", "routine", "flash")
        await look(office)
        assert [outcome for mode, level, outcome in await told(office) if (mode, level) == ("disk-low", "public")] == ["began", "ended"]


async def test_arrivals_where_the_disk_is_getting_full(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        half = finance.rooms.blobs.free() // 2
        finance.enact(table("public", f'disk_large = "2MiB"\ndisk_large_waits = "{half}B"\n'))
        with less_room(finance):
            office.approve("large", "大", finance.code, level="public", parts=[("正文.pdf", b"\x00" * (2 * 1024 * 1024))])
            await offer(world, "small", "public")
            assert await state(office, "small") == "DELIVERED"
            assert await state(office, "large") == "SEALED"
            assert {answer.problem for answer in office.line.answers if isinstance(answer, ProblemError)} == {"no-room"}
        await world.retry()
        await all_delivered(office, "large", "small")


async def test_a_full_disk_stops_every_level(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        office.fill_disk()
        await offer(world, "open", "public", urgency="flash")
        assert waits(office, "open")
        assert {each.stopped for each in absence(office, "disk-low").stands} == {True}
        office.free_disk()
        await world.settle()
        await all_delivered(office, "open")


# ---- peers -----------------------------------------------------------------------------------------------------------------------


async def test_a_silent_peer(tmp_path):
    """A warning after fifteen minutes, an alarm after four hours; nothing stops, and its documents wait for it."""
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        office.line.down.add(finance.gateway)
        await offer(world, "letter", "internal")
        assert away(office) == []
        world.time.pass_(16 * MINUTE)
        await world.retry()
        await look(office)
        began = absence(office, "peer-away")
        assert began.subject == finance.gateway
        assert {each.stopped for each in began.stands} == {False}
        assert office.rooms.ready()
        await office.restart()
        assert absence(office, "peer-away").since - began.since < MINUTE
        await world.pass_(4 * HOUR)
        await world.retry()
        await look(office)
        assert {each.left for each in absence(office, "peer-away").stands} == {0.0}
        assert await state(office, "letter") == "SEALED"
        office.line.down.clear()
        await world.retry()
        await look(office)
        assert away(office) == []
        await all_delivered(office, "letter")
        assert [outcome for mode, _, outcome in await told(office) if mode == "peer-away"] == ["began", "over", "ended"]


# ---- what is kept and shown ------------------------------------------------------------------------------------------------------


async def test_what_comes_and_goes_does_not_fill_the_log(tmp_path, caplog):
    async with World(tmp_path, keys=("office",)) as world:
        office = world["office"]
        for _ in range(20):
            world.authority.silent = True
            await office.stamp()
            await look(office)
            world.authority.silent = False
            await office.stamp()
            await look(office)
        leaves = await told(office)
        assert len(leaves) == 6, "three levels, once began and once ended"
        assert len([line for line in caplog.messages if line.startswith("degraded")]) == 2
        world.authority.silent = True
        await office.stamp()
        await look(office)
        assert len(await told(office)) == 6
        world.time.pass_(2 * MINUTE)
        await look(office)
        assert len(await told(office)) == 9, "what lasts is written down all the same"


async def test_what_operators_see(tmp_path):
    async with World(tmp_path, keys=("office",)) as world:
        office = world["office"]
        assert Absences(office.rooms)() == []
        world.authority.silent = True
        await office.stamp()
        await look(office)
        (shown,) = Absences(office.rooms)()
        assert shown.mode == "time-authority"
        assert shown.mode in MODES
        assert shown.seconds_left == pytest.approx(3600, abs=30)
        assert [each.level for each in shown.levels] == ["public", "internal", "work-secret"]
        kept = kept_from(await office.rooms.ledger.remembered(KEPT_AS) or "")
        assert [each.mode for each in kept.absences] == ["time-authority"]
        assert kept.absences[0].since == shown.since


def seen_by_doctor(node: Node) -> list[Diagnosis]:
    """What the doctor reads from this home's database, at the world's time."""
    patient = SimpleNamespace(home=SimpleNamespace(database=node.home / "yizhan.db"), now=node.world.time.now())
    return list(_degraded(patient))  # type: ignore[arg-type]


async def test_the_doctor_counts_down_while_the_gateway_is_down(tmp_path):
    async with World(tmp_path, keys=("office",)) as world:
        office = world["office"]
        office.enact(table("public", 'crl_grace = "6h"\n'))
        assert [each.health for each in seen_by_doctor(office)] == ["ok"]
        world.time.pass_(LISTS_LEFT + HOUR)
        assert await office.stamp()
        await look(office)
        await office.stop()
        for passed, health, shown in ((HOUR, "fail", "public left 3:5"), (5 * HOUR, "fail", "public stopped")):
            world.time.pass_(passed)
            (found,) = seen_by_doctor(office)
            assert found.health == health
            assert found.what == "degraded crl-stale"
            assert shown in found.en
            assert "internal stopped" in found.en
            assert ("public 剩余 3:5" in found.zh) == (passed == HOUR)
            value = _value(found)["away"]
            assert isinstance(value, dict)
            public = next(each for each in value["levels"] if each["level"] == "public")
            assert public["stopped"] == (passed != HOUR)
            assert public["seconds_left"] == pytest.approx(4 * 3600 if passed == HOUR else 0, abs=60)
        await office.start()
        office.believe(world.pki.trust_after(now=world.time.now()))
        assert await office.stamp()
        await look(office)
        assert [each.health for each in seen_by_doctor(office)] == ["ok"]


async def test_looking_costs_little(tmp_path):
    """Asked for each document, what is forbidden is answered from memory."""
    async with World(tmp_path, keys=("office",)) as world:
        degraded = world["office"].rooms.degraded
        asked = 0

        def count(*_: object) -> Iterator[None]:
            nonlocal asked
            asked += 1
            yield from ()

        original = type(degraded)._disbeliefs
        try:
            type(degraded)._disbeliefs = count  # type: ignore[assignment,method-assign]
            degraded.forget()
            for _ in range(100):
                degraded.obstacles("public")
        finally:
            type(degraded)._disbeliefs = original  # type: ignore[method-assign]
        assert asked <= 2
