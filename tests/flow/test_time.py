"""What time does to an exchange: expiry on both sides, giving up, clocks that are wrong, policy and directory that change meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import msgspec

from gateway.core.errors import Unreachable
from gateway.core.exchange import State
from gateway.core.receipt import Receipt
from gateway.core.retry import MAX_ATTEMPTS
from gateway.flow.watching import LOOKED_AGAIN
from tests.flow.test_receipts import Stingy, hand, signed
from tests.flow.wire import Fault
from tests.flow.world import World

PAIR = ("office", "finance")
MINUTE = timedelta(minutes=1)
LIFE = timedelta(days=30)
UNASKED = tuple((f'sign_for = true\nsign_for_within = "{within}d"', "sign_for = false") for within in (5, 3, 1))
NO_ROUTE = (('from = ["11*", "12*", "13*"]', 'from = ["99*"]'), ('from = ["*"]', 'from = ["99*"]'))
APPROVAL = (
    ('sign_for_within = "3d"\nretention = "10y"\napprovals = 0', 'sign_for_within = "3d"\nretention = "10y"\napprovals = 1'),
    ('sign_for_within = "1d"\nretention = "30y"\napprovals = 0', 'sign_for_within = "1d"\nretention = "30y"\napprovals = 1'),
)


async def unreached(world, source="notice", **fields):
    """An exchange sealed here that finance cannot be reached for."""
    world["office"].line.down.add(world["finance"].gateway)
    exchange = await world.send(source, **fields)
    assert await world["office"].state("out", exchange) == "SEALED"
    return exchange


async def expire(*nodes):
    for node in nodes:
        await node.journey.watching.expire()


# ---- expiry ----------------------------------------------------------------------------------------------------------------------


async def test_the_sender_ends_what_nobody_answered_ten_minutes_after_its_expiry(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        exchange = await unreached(world)
        await world.pass_(LIFE + 9 * MINUTE)
        await expire(office)
        assert await office.state("out", exchange) == "SEALED", "a consignment dated in time may still be on its way"
        await world.pass_(2 * MINUTE)
        await expire(office)
        await world.settle()
        assert await office.state("out", exchange) == "EXPIRED"
        assert await office.works() == []
        (row,) = await office.receipts("out", exchange)
        assert (row.event, row.issuer_org, Receipt.from_bytes(row.body).reason.code) == ("RelayFailure", office.code, "expired")
        assert office.office.statuses["out", exchange].recipients[0].state == "EXPIRED"
        await world.retry()
        assert await office.state("out", exchange) == "EXPIRED"


async def test_a_consignment_dated_in_time_replaces_the_presumption_whenever_it_comes(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        finance.line.down.add(office.gateway)
        office.line.faults.append(Fault(kind="reply-lost"))
        exchange = await world.send()
        office.line.down.add(finance.gateway)
        await world.pass_(LIFE + 11 * MINUTE)
        await expire(office)
        assert await office.state("out", exchange) == "EXPIRED"
        consigned, handed_over, *_ = [signed(row) for row in await finance.receipts("in", exchange)]
        assert await hand(world, consigned) == [("ok", False)]
        assert await office.state("out", exchange) == "CONSIGNED"
        assert await hand(world, handed_over) == [("ok", False)]
        assert await office.state("out", exchange) == "DELIVERED"


async def test_nobody_signed_in_time(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        exchange = await world.send()
        await world.pass_(LIFE - MINUTE)
        await expire(office, finance)
        assert await finance.state("in", exchange) == "DELIVERED"
        await world.pass_(2 * MINUTE)
        await expire(office, finance)
        await world.settle()
        assert await finance.state("in", exchange) == "EXPIRED"
        assert await office.state("out", exchange) == "NOT_SIGNED_FOR"
        finance.office.sign_for(exchange)
        await world.settle()
        assert [reason.rule for reason in finance.office.answered[f"{exchange}/sign-for"]] == ["act/too-late"]
        assert await office.state("out", exchange) == "NOT_SIGNED_FOR"
        assert (await finance.events("in", exchange)).count("NotSignedFor") == 1


async def test_what_could_not_be_ended_is_looked_for_again(tmp_path):
    """However long it takes: of what ran out only that is not looked at again whose end was recorded."""
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        exchange = await world.send()
        await expire(finance)
        finance.lose_key()
        for _ in range(3):
            await world.pass_(LIFE)
            await expire(finance)
        assert await finance.state("in", exchange) == "DELIVERED"
        finance.key_away = False
        await finance.journey.watching.call_keys()
        await expire(office, finance)
        await world.settle()
        assert await finance.state("in", exchange) == "EXPIRED"
        assert await office.state("out", exchange) == "NOT_SIGNED_FOR"


async def test_what_policy_begins_to_ask_for_is_ended_too(tmp_path):
    """A look under one policy says nothing about the next."""
    async with World(tmp_path, keys=PAIR) as world:
        finance = world["finance"]
        asks = finance.policy
        finance.enact(*UNASKED)
        exchange = await world.send()
        await world.pass_(LIFE + MINUTE)
        for _ in range(2):
            await expire(finance)
            await world.pass_(LOOKED_AGAIN + MINUTE)
        assert await finance.state("in", exchange) == "DELIVERED"
        finance.policy = asks
        finance.rooms.standing.policy, finance.rooms.standing.policy_bytes = asks
        await expire(finance)
        await world.settle()
        assert await finance.state("in", exchange) == "EXPIRED"


async def test_what_never_reached_the_office_does_not_reach_it_after_its_end(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        finance.office.closed.add("deliver")
        exchange = await world.send()
        await world.pass_(LIFE + MINUTE)
        await expire(finance)
        finance.office.closed.clear()
        await world.retry()
        assert finance.office.inbox == {}
        assert await finance.state("in", exchange) == "EXPIRED"
        assert await office.state("out", exchange) == "NOT_SIGNED_FOR"


async def test_what_comes_after_its_end_is_refused_with_a_signature(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        exchange = await unreached(world)
        await world.pass_(LIFE + MINUTE)
        office.line.down.clear()
        await world.retry()
        assert await office.state("out", exchange) in ("REFUSED_BY_RECIPIENT", "REFUSED")
        assert finance.office.inbox == {}


async def test_a_held_arrival_lapses(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        exchange = await held_there(world)
        await world.pass_(LIFE + 11 * MINUTE)
        await expire(office, finance)
        assert await finance.state("in", exchange) == "EXPIRED"
        assert await office.state("out", exchange) == "EXPIRED"
        assert await finance.receipts("in", exchange) == (), "nothing was ever stated about it"


async def held_there(world):
    """An exchange finance holds for a person: its signer was revoked after it signed."""
    office, finance = world["office"], world["finance"]
    exchange = await unreached(world)
    later = world.time.now() + timedelta(seconds=10)
    world.time.pass_(timedelta(seconds=30))
    finance.believe(world.pki.trust_after([(office.signing.certificate, later, "keyCompromise")], now=world.time.now()))
    await finance.stamp()
    office.line.down.clear()
    await world.retry()
    assert await finance.state("in", exchange) == "HELD"
    assert await office.state("out", exchange) == "SEALED"
    return exchange


async def test_an_exchange_held_there_waits_and_asks_again_without_hurry(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        exchange = await held_there(world)
        (work,) = [work for work in office.put_off.values() if work.kind == "deliver"]
        assert work.due - world.time.now() > timedelta(minutes=9)
        office.rooms.agenda.wake(finance.gateway)
        assert work.key in office.put_off, "its calling us is no reason to ask sooner"
        for _ in range(3):
            await world.retry()
        assert await finance.leaves(exchange) == ["held:revoked-later"]
        assert await office.state("out", exchange) == "SEALED"


async def test_one_exchange_that_cannot_be_ended_does_not_keep_the_others(tmp_path):
    async with World(tmp_path) as world:
        office = world["office"]
        office.line.down |= {world["finance"].gateway, world["health"].gateway}
        first = await world.send("first")
        second = await world.send("second", to=("health",))
        world.publish(
            lambda entries: [entries.pop(name) for name in (f"gateway/{world['finance'].gateway}", f"organisation/{world['finance'].code}")]
        )
        await office.adopt()
        await world.pass_(LIFE + 11 * MINUTE)
        await expire(office)
        assert await office.state("out", first) == await office.state("out", second) == "EXPIRED"
        await world.retry()
        assert await office.works() == []


# ---- giving up -------------------------------------------------------------------------------------------------------------------


async def give_up(world):
    office = world["office"]
    (work,) = [work for work in office.put_off.values() if work.kind == "deliver"]
    office.rooms.agenda.add(replace(work, attempts=MAX_ATTEMPTS - 1))
    office.hurry()
    await world.settle()


async def test_attempts_used_up_are_stuck_and_kept(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        exchange = await unreached(world)
        await give_up(world)
        assert await office.state("out", exchange) == "STUCK"
        assert await office.events("out", exchange) == ["RelayFailure"]
        assert (await office.leaves(exchange))[-1] == "stuck:unreachable"
        assert await office.works() == []
        assert await office.rooms.ledger.content("out", exchange) is not None


async def test_our_own_presumptions_about_a_pair_form_a_chain(tmp_path):
    """STUCK, then EXPIRED: two receipts of ours with one ``prev`` would prove that we contradict ourselves."""
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        exchange = await unreached(world)
        await give_up(world)
        await world.pass_(LIFE + 11 * MINUTE)
        await expire(office)
        assert await office.state("out", exchange) == "EXPIRED"
        stuck, expired = await office.receipts("out", exchange)
        assert Receipt.from_bytes(stuck.body).prev is None
        assert Receipt.from_bytes(expired.body).prev == stuck.digest


async def test_presumptions_of_one_moment_do_not_fork(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        exchange = await unreached(world)
        (work,) = [work for work in office.put_off.values() if work.kind == "deliver"]
        await world.pass_(LIFE + 11 * MINUTE)
        delivering, error = office.journey.delivering, Unreachable("nobody there", place="finance")
        await asyncio.gather(delivering.give_up(work, error), delivering.expire(exchange, world["finance"].code))
        kept = [Receipt.from_bytes(row.body).prev for row in await office.receipts("out", exchange)]
        assert len(kept) == len(set(kept))
        assert await office.state("out", exchange) == "EXPIRED"


async def test_a_later_receipt_replaces_stuck(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        finance.line.down.add(office.gateway)
        office.line.faults.append(Fault(kind="reply-lost"))
        exchange = await world.send()
        office.line.down.add(finance.gateway)
        await give_up(world)
        assert await office.state("out", exchange) == "STUCK"
        finance.line.down.clear()
        await world.retry()
        assert await office.state("out", exchange) == "DELIVERED"


async def test_a_peer_that_calls_us_begins_its_count_anew(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        await unreached(world)
        (work,) = [work for work in office.put_off.values() if work.kind == "deliver"]
        office.rooms.agenda.add(replace(work, attempts=MAX_ATTEMPTS - 1, due=work.due + timedelta(hours=1)))
        finance.approve("answer", "关于来函的复函", office.code)
        await world.settle()
        (work,) = [work for work in office.put_off.values() if work.kind == "deliver"]
        assert work.attempts == 1


async def test_a_final_problem_is_for_a_person_at_once(tmp_path):
    """Revoked before it signed: the peer will never take it."""
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        earlier = world.time.now() - timedelta(hours=1)
        finance.believe(world.pki.trust_after([(office.signing.certificate, earlier, "keyCompromise")]))
        exchange = await world.send()
        assert await office.state("out", exchange) == "STUCK"
        assert (await office.leaves(exchange))[-1] == "stuck:revoked"
        assert await finance.rooms.ledger.exchanges() == ()
        assert (await finance.log())[-1] == "refused:revoked"


async def test_a_problem_word_of_a_stranger_cannot_break_our_own_receipt(tmp_path):
    from gateway.core.errors import PeerProblem

    class Odd(Stingy):
        async def send(self, gateway, parcel):
            raise PeerProblem("odd", problem="-" * 40, retryable=False)

    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        office.rooms.link = Odd(office.line, ())
        exchange = await world.send()
        assert await office.state("out", exchange) == "STUCK"
        assert (await office.leaves(exchange))[-1] == "stuck:unspecified"


# ---- policy and directory change -------------------------------------------------------------------------------------------------


async def test_policy_changed_before_the_seal(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        world.authority.silent = True
        refused = await world.send("refused")
        office.enact(*NO_ROUTE)
        world.authority.silent = False
        await world.retry()
        assert await office.state("out", refused) == "REFUSED"
        assert office.scratch_bytes() == 0
        assert await office.works() == []
        assert not office.line.offered


async def test_policy_changed_before_the_seal_and_permits_as_before(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        world.authority.silent = True
        exchange = await world.send()
        office.enact(('retention = "30y"', 'retention = "31y"'))
        world.authority.silent = False
        await world.retry()
        assert await office.state("out", exchange) == "DELIVERED"
        assert world["office"].rooms.standing.policy.digest.encode() in (await office.row("out", exchange)).transmittal


async def test_policy_changed_before_it_was_sent(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        refused = await unreached(world, "refused")
        office.enact(*NO_ROUTE)
        office.line.down.clear()
        await world.retry()
        assert await office.state("out", refused) == "REFUSED"
        assert not office.line.carried
        assert await office.works() == []


async def test_policy_asks_for_an_approval_before_it_was_sent(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        exchange = await unreached(world)
        office.enact(*APPROVAL)
        office.line.down.clear()
        await world.retry()
        assert await office.state("out", exchange) == "HELD"
        assert not office.line.carried
        await world.pass_(LIFE + 11 * MINUTE)
        await expire(office)
        assert await office.state("out", exchange) == "EXPIRED"


async def test_policy_changed_over_a_restart_before_it_was_sent(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        exchange = await unreached(world)
        office.enact(*NO_ROUTE)
        await office.restart()
        office.line.down.clear()
        await world.retry()
        assert await office.state("out", exchange) == "REFUSED"


async def test_the_recipients_policy_has_the_last_word(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        finance.enact(*NO_ROUTE)
        exchange = await world.send()
        assert await office.state("out", exchange) == "REFUSED_BY_RECIPIENT"
        assert await finance.state("in", exchange) == "REFUSED"
        assert finance.office.inbox == {}
        assert await office.works() == []
        await office.journey.delivering.deliver(_work(office, finance, exchange, world.time.now()))
        assert len(office.line.answers) == 1, "a signed refusal is final"


def _work(office, finance, exchange, at):
    from gateway.core.step import Work

    key = f"deliver:out:{exchange}:{finance.gateway}"
    office.rooms.hot_out.drop(exchange)
    return Work(key=key, kind="deliver", direction="out", exchange=exchange, due=at, peer=finance.gateway)


async def test_a_directory_newer_than_the_peers(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        asked = []
        finance.journey.inbound.on_unknown_directory = lambda: asked.append(1)
        world.publish()
        await office.adopt()
        exchange = await world.send()
        assert [answer.problem for answer in office.line.answers] == ["directory-unknown"]
        assert asked == [1]
        assert await finance.rooms.ledger.exchanges() == ()
        await finance.adopt()
        await world.retry()
        assert await office.state("out", exchange) == "DELIVERED"


async def test_a_directory_older_than_the_peers_is_still_known_there(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        world.publish()
        await world["finance"].adopt()
        exchange = await world.send()
        assert await world["office"].state("out", exchange) == "DELIVERED"


async def test_a_directory_that_expired(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        exchange = await unreached(world)
        finance.rooms.standing.directory.expires = world.time.now()
        office.line.down.clear()
        await world.retry()
        assert [answer.problem for answer in office.line.answers] == ["directory-expired"]
        finance.rooms.standing.directory.expires += LIFE
        await world.retry()
        assert await office.state("out", exchange) == "DELIVERED"


async def test_a_directory_of_before_that_expired_meanwhile(tmp_path):
    """It is still known here, and a newer one is in force: what was made under it comes too late."""
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        exchange = await unreached(world)
        before = finance.rooms.standing.directory
        world.publish()
        await finance.adopt()
        before.expires = world.time.now()
        office.line.down.clear()
        await world.retry()
        assert [answer.problem for answer in office.line.answers] == ["directory-expired"]
        assert await finance.rooms.ledger.beginning(exchange) == ()


async def test_a_recipient_that_moved_behind_another_gateway(tmp_path):
    async with World(tmp_path) as world:
        office, finance, health = world["office"], world["finance"], world["health"]
        await unreached(world)

        def move(entries):
            entries[f"gateway/{finance.gateway}"] = msgspec.structs.replace(entries[f"gateway/{finance.gateway}"], organisations=())
            both = tuple(sorted((finance.code, health.code)))
            entries[f"gateway/{health.gateway}"] = msgspec.structs.replace(entries[f"gateway/{health.gateway}"], organisations=both)

        world.publish(move)
        await office.adopt()
        await world.retry()
        works = {work.peer for work in await office.rooms.ledger.due() if work.kind == "deliver"}
        assert works == {health.gateway}
        assert [gateway for gateway, _ in office.line.offered][-1] == health.gateway


async def test_a_recipient_that_left_the_directory_does_not_stop_the_others(tmp_path):
    async with World(tmp_path) as world:
        office, finance, health = world["office"], world["finance"], world["health"]
        office.line.down |= {finance.gateway, health.gateway}
        exchange = await world.send(to=("finance", "health"))
        world.publish(lambda entries: [entries.pop(name) for name in (f"gateway/{health.gateway}", f"organisation/{health.code}")])
        for node in (office, finance):
            await node.adopt()
        office.line.down.clear()
        await world.retry()
        assert await office.state("out", exchange, finance.code) == "DELIVERED"
        assert await office.state("out", exchange, health.code) == "SEALED"


# ---- clocks ----------------------------------------------------------------------------------------------------------------------


async def test_a_sender_with_a_wrong_clock_takes_nothing(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        for skew in (10 * MINUTE, -10 * MINUTE):
            office.clock.skew = skew
            assert not office.rooms.ready()
            office.approve("notice", "关于试点的通知", world["finance"].code)
            await world.settle()
            assert "notice" in office.office.tray
            assert await office.rooms.ledger.exchanges() == ()
        office.clock.skew = timedelta(0)
        await world.settle()
        assert await office.state("out", office.exchange_of("notice")) == "DELIVERED"


async def test_a_sender_whose_clock_goes_wrong_seals_nothing(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        world.authority.silent = True
        exchange = await world.send()
        world.authority.silent = False
        office.clock.skew = 10 * MINUTE
        await world.retry()
        assert await office.state("out", exchange) == "TAKEN"
        office.clock.skew = timedelta(0)
        await world.retry()
        assert await office.state("out", exchange) == "DELIVERED"


async def test_a_recipient_with_a_wrong_clock_accepts_nothing(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        for skew in (10 * MINUTE, -10 * MINUTE):
            finance.clock.skew = skew
            exchange = await world.send(f"{skew}")
            assert office.line.answers[-1].problem == "clock"
            assert await finance.rooms.ledger.beginning(exchange) == ()
        finance.clock.skew = timedelta(0)
        await world.retry()
        assert await office.state("out", exchange) == "DELIVERED"


async def test_times_that_do_not_fit_are_answered_by_a_problem(tmp_path):
    """A sender that believes a clock ten minutes fast: the time-stamp tells."""
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        office.clock.skew = 11 * MINUTE
        office.rooms.guard.saw_token(office.clock.now(), office.clock.monotonic())
        office.rooms.guard.saw_token = lambda stamped, mono: None
        exchange = await world.send()
        assert office.line.answers[-1].problem == "token-time"
        assert await finance.rooms.ledger.beginning(exchange) == ()
        assert await office.state("out", exchange) == "SEALED"


async def test_no_clock_before_the_first_stamp(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        world.authority.silent = True
        await finance.restart()
        exchange = await unreached_by_clock(world)
        assert office.line.answers[-1].problem == "clock"
        world.authority.silent = False
        await finance.stamp()
        await world.retry()
        assert await office.state("out", exchange) == "DELIVERED"


async def unreached_by_clock(world):
    world.authority.silent = False
    return await world.send()


async def test_an_hour_without_a_stamp_stops_everything(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        world.time.pass_(61 * MINUTE)
        assert not office.rooms.ready()
        assert await office.stamp()
        assert office.rooms.ready()


async def test_a_clock_behind_the_own_log_is_not_believed(tmp_path):
    """Even where the time authority agrees with it: the log was there before."""
    async with World(tmp_path, keys=PAIR) as world:
        finance = world["finance"]
        world.time.pass_(-MINUTE)
        await finance.restart()
        assert not finance.rooms.ready()
        world.time.pass_(2 * MINUTE)
        await finance.stamp()
        assert finance.rooms.ready()


async def test_a_stamp_that_waits_behind_a_large_document_is_no_wrong_clock(tmp_path):
    """Verifying a token takes its turn on the stage; the time it waits there is not drift."""
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        respond = world.authority.respond

        async def respond_then_busy(request):
            response = await respond(request)
            office.rooms.stage_out._desk._queue.put((lambda: world.time.pass_(timedelta(seconds=30)), _nobody()))
            return response

        world.authority.respond = respond_then_busy
        await world.send()
        assert abs(office.rooms.guard.drift(office.clock.now(), office.clock.monotonic())) < timedelta(seconds=2)


def _nobody():
    return asyncio.get_running_loop().create_future()


async def test_checkpoints_are_stamped_and_receipts_get_a_trusted_time(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        exchange = await world.send()
        assert await office.stamp()
        for row in await office.receipts("out", exchange):
            checkpoint = await office.rooms.ledger.checkpoint_over(row.leaf)
            assert checkpoint.token is not None


async def test_the_expiry_of_states_covers_all_that_is_open():
    from gateway.flow.delivering import IN_FLIGHT, OPEN

    assert {State.STUCK, State.HELD} == OPEN - IN_FLIGHT
