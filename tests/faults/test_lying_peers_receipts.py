"""Receipts by a member of the network who lies, with certificates that are all in order.

Finance and health hold the true exchange, nobody has signed for it yet. Each attack gets its own word, a leaf and a count at office,
moves nothing, and the true exchange then runs to its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest

from crypto.digests import digest
from gateway.core.canonical import format_time
from gateway.core.receipt import Issuer, Receipt
from gateway.flow.ports import Receipted, SignedReceipt
from tests.faults.lying import Scene, reasons, scene
from tests.flow.test_receipts import Stingy
from tests.flow.world import World

NOBODY_SIGNS = (
    ('sign_for = true\nsign_for_within = "5d"', "sign_for = false"),
    ('sign_for = true\nsign_for_within = "3d"', "sign_for = false"),
    ('sign_for = true\nsign_for_within = "1d"', "sign_for = false"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """What is done, and the word it is answered with (``!``: for good); its leaf and its count go by the same word."""

    act: Callable[[Scene], Awaitable[str]]
    word: str
    leaf: str = "not-entitled"


async def a_sign_for_in_anothers_place(found: Scene) -> str:
    return await found.hand(await found.receipt("SignedFor", by=found.liar, about=found.finance))


async def in_anothers_name_through_my_gateway(found: Scene) -> str:
    issuer = Issuer(org=found.finance.code, gateway=found.liar.gateway)
    return await found.hand(await found.receipt("SignedFor", by=found.liar, about=found.finance, issuer=issuer))


async def in_anothers_name_with_my_key(found: Scene) -> str:
    return await found.hand(await found.receipt("SignedFor", by=found.finance, signer=found.liar.signing))


async def about_somebody_who_was_not_addressed(found: Scene) -> str:
    return await found.hand(await found.receipt("SignedFor", by=found.liar, recipient=found.office.code))


async def a_relay_failure_by_somebody_off_the_route(found: Scene) -> str:
    return await found.hand(await found.receipt("RelayFailure", by=found.liar, about=found.finance))


async def a_submission_rejected_by_somebody_else(found: Scene) -> str:
    return await found.hand(await found.receipt("SubmissionRejection", by=found.liar, recipient=None))


async def replayed_onto_another_exchange(found: Scene) -> str:
    """A receipt of finance for the first, said to be about the second, whose recipient it is as well."""
    found.office.line.down.discard(found.finance.gateway)
    second = await found.world.send("second")
    receipt = await found.receipt("Returned", by=found.finance, exchange=second)
    word = await found.hand(receipt, peer=found.finance)
    assert await found.office.state("out", second) == "DELIVERED"
    return word


async def about_other_content(found: Scene) -> str:
    other = digest(found.world.suite.digest, b"other content")
    return await found.hand(await found.receipt("SignedFor", by=found.liar, sealed=other))


async def a_consignment_dated_after_the_end(found: Scene) -> str:
    late = format_time(found.true.transmittal.expires_at + timedelta(seconds=1))
    return await found.hand(await found.receipt("ContentConsignment", by=found.liar, at=late))


async def two_with_one_prev(found: Scene) -> str:
    """The liar's own two words about its own copy: the first stands, the second is the proof."""
    return await found.hand(await found.receipt("Returned", by=found.liar, prev=None))


async def made_before_its_certificate_was_revoked(found: Scene) -> str:
    """It may have held when it signed: put off, never taken, never turned away for good."""
    receipt = await found.receipt("SignedFor", by=found.liar)
    await found.world.pass_(timedelta(minutes=5))
    revoked = [(found.liar.signing.certificate, found.now - timedelta(minutes=1), "superseded")]
    good = found.office.trust
    found.office.believe(found.world.pki.trust_after(revoked, now=found.now))
    word = await found.hand(receipt)
    found.office.believe(good)
    return word


ATTACKS = (
    Attack(act=a_sign_for_in_anothers_place, word="not-entitled!"),
    Attack(act=in_anothers_name_through_my_gateway, word="not-entitled!"),
    Attack(act=in_anothers_name_with_my_key, word="signer-not-listed"),
    Attack(act=about_somebody_who_was_not_addressed, word="not-entitled!"),
    Attack(act=a_relay_failure_by_somebody_off_the_route, word="not-entitled!"),
    Attack(act=a_submission_rejected_by_somebody_else, word="not-entitled!"),
    Attack(act=replayed_onto_another_exchange, word="other-exchange!"),
    Attack(act=about_other_content, word="other-exchange!"),
    Attack(act=a_consignment_dated_after_the_end, word="not-entitled!"),
    Attack(act=two_with_one_prev, word="forked-receipts!", leaf="contradiction"),
    Attack(act=made_before_its_certificate_was_revoked, word="revoked"),
)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.act.__name__)
async def test_a_receipt_that_lies(tmp_path, attack):
    async with World(tmp_path) as world:
        found = await scene(world, reached=True)
        office, code = found.office, attack.word.rstrip("!")
        statuses = dict(office.office.statuses)
        assert await attack.act(found) == attack.word
        assert f"{attack.leaf}:{code}" in await office.log()
        assert office.gauges.refusals[code] == 1
        for node in (found.finance, found.liar):
            assert await office.state("out", found.exchange, node.code) == "DELIVERED"
        assert statuses["out", found.exchange].recipients == office.office.statuses["out", found.exchange].recipients
        await found.runs_to_its_end()


async def test_no_more_proofs_are_kept_than_prove_it(tmp_path):
    """A liar that goes on making receipts with one ``prev`` fills no disk; whichever comes again is answered as before."""
    async with World(tmp_path) as world:
        found = await scene(world, reached=True)
        first = await found.receipt("Returned", by=found.liar)
        assert await found.hand(first) == "forked-receipts!"
        kept = len(await found.office.receipts("out", found.exchange))
        rows = [await found.receipt("Returned", by=found.liar) for _ in range(20)]
        assert await found.hand(*rows) == " ".join(["forked-receipts!"] * 20)
        assert len(await found.office.receipts("out", found.exchange)) <= kept + 1
        assert await found.hand(first, rows[7]) == "forked-receipts! forked-receipts!"
        assert len(await found.office.receipts("out", found.exchange)) <= kept + 1
        await found.runs_to_its_end()


async def test_two_with_one_prev_in_one_request(tmp_path):
    """The one that stands first in the request counts."""
    async with World(tmp_path) as world:
        found = await scene(world, reached=True)
        last = (await found.liar.receipts("in", f"{found.exchange}-{found.office.code}"))[-1].digest
        both = [await found.receipt(event, by=found.liar, prev=last) for event in ("SignedFor", "Returned")]
        assert await found.hand(*both) == "ok forked-receipts!"
        assert await found.office.state("out", found.exchange, found.liar.code) == "SIGNED_FOR"
        assert (await found.office.leaves(found.exchange))[-1] == "contradiction:forked-receipts"


async def test_two_with_one_prev_long_after(tmp_path):
    """What was said is read back where nobody remembers it."""
    async with World(tmp_path) as world:
        found = await scene(world, reached=True)
        await found.office.restart()
        assert await found.hand(await found.receipt("Returned", by=found.liar)) == "forked-receipts!"
        await found.runs_to_its_end()


@pytest.mark.parametrize("warm", [True, False], ids=["remembered", "read-back"])
async def test_two_with_one_prev_at_the_same_moment(tmp_path, warm):
    """On two connections at once: neither is recorded when the other is looked at, and still one of them is the proof."""
    async with World(tmp_path) as world:
        found = await scene(world, reached=True)
        if not warm:
            await found.office.restart()
        last = (await found.liar.receipts("in", f"{found.exchange}-{found.office.code}"))[-1].digest
        both = [await found.receipt("SignedFor", by=found.liar, prev=last) for _ in range(2)]
        words = await asyncio.gather(*(found.hand(one) for one in both))
        assert sorted(words) == ["forked-receipts!", "ok"]
        assert (await found.office.leaves(found.exchange)).count("contradiction:forked-receipts") == 1
        assert found.office.gauges.refusals["forked-receipts"] == 1
        assert await found.office.state("out", found.exchange, found.liar.code) == "SIGNED_FOR"


class TwoFaced(Stingy):
    """A peer that answers a delivery with another receipt than the one it brought before."""

    def __init__(self, line, found, before):
        super().__init__(line, ())
        self.found, self.before = found, before

    async def send(self, gateway, parcel):
        await self.line.send(gateway, parcel)
        if self.before:
            assert await self.found.hand(self.before) == "ok"
        return Receipted(receipts=self.receipts)


@pytest.mark.parametrize("warm", [True, False], ids=["remembered", "read-back"])
async def test_two_with_one_prev_one_of_them_an_answer(tmp_path, warm):
    """What a delivery is answered with is held against what was said before, like any other receipt."""
    async with World(tmp_path) as world:
        found = await scene(world)
        office = found.office
        if not warm:
            await office.restart()
        first, second = [await found.receipt("ContentConsignment", by=found.liar) for _ in range(2)]
        line = TwoFaced(office.line, found, first)
        line.receipts = (second,)
        office.rooms.link = line
        found.liar.office.closed.add("deliver")
        office.line.down.discard(found.liar.gateway)
        office.hurry("deliver")
        await world.settle()
        assert "contradiction:forked-receipts" in await office.leaves(found.exchange)
        assert office.gauges.refusals["forked-receipts"] == 1
        kept = {row.body for row in await office.receipts("out", found.exchange)}
        assert {first.body, second.body} <= kept, "both are the proof"
        assert await office.state("out", found.exchange, found.liar.code) == "CONSIGNED", "the first one stands"


@pytest.mark.parametrize("changed", [False, True], ids=["same-policy", "policy-changed-since"])
async def test_not_signed_for_where_nobody_had_to_sign(tmp_path, changed):
    """The delivery was the outcome: a NotSignedFor states nothing, and an honest recipient makes none."""
    async with World(tmp_path) as world:
        for node in world.nodes:
            node.enact(*NOBODY_SIGNS)
            await node.restart()
        found = await scene(world, reached=True)
        if changed:
            found.office.enact()
            await found.office.restart()
        last = (await found.liar.receipts("in", f"{found.exchange}-{found.office.code}"))[-1].digest
        lie = await found.receipt("NotSignedFor", by=found.liar, prev=last)
        assert await found.hand(lie) == "sign-for-not-asked!"
        assert "contradiction:sign-for-not-asked" in await found.office.log()
        assert found.office.gauges.refusals["sign-for-not-asked"] == 1
        assert await found.office.state("out", found.exchange, found.liar.code) == "DELIVERED"
        await world.pass_(timedelta(days=31))
        await found.finance.journey.watching.expire()
        await world.settle()
        assert await found.finance.state("in", found.exchange) == "DELIVERED"
        assert await found.office.state("out", found.exchange, found.finance.code) == "DELIVERED"


async def test_a_receipt_of_a_revoked_certificate_is_heard_once_a_person_has_settled_it(tmp_path):
    """Put off at both ends and visible there; nothing is lost when the list turns out to have been wrong."""
    async with World(tmp_path) as world:
        found = await scene(world, reached=True)
        office, finance = found.office, found.finance
        good = office.trust
        office.believe(world.pki.trust_after([(finance.signing.certificate, found.now, "superseded")], now=found.now))
        finance.office.sign_for(found.exchange)
        await world.settle()
        assert await office.state("out", found.exchange, finance.code) == "DELIVERED"
        assert "send-receipt" in {work.kind for work in finance.put_off.values()}
        assert "revoked" in reasons(await office.log())
        office.believe(good)
        await found.runs_to_its_end()


async def test_whoever_brings_it_a_true_receipt_counts(tmp_path):
    """What a receipt is worth is decided by its signature: the liar may carry what finance said."""
    async with World(tmp_path) as world:
        found = await scene(world, reached=True)
        found.finance.line.down.add(found.office.gateway)
        found.finance.office.sign_for(found.exchange)
        await world.settle()
        row = (await found.finance.receipts("in", f"{found.exchange}-{found.office.code}"))[-1]
        assert Receipt.from_bytes(row.body).event == "SignedFor"
        assert await found.hand(SignedReceipt(body=row.body, signature=row.signature)) == "ok"
        assert await found.office.state("out", found.exchange, found.finance.code) == "SIGNED_FOR"
        found.finance.line.down.clear()
        await found.runs_to_its_end()
