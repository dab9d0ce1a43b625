"""What every office system promises (gateway.flow.ports.OfficeSystem), as one suite that each implementation inherits.

An implementation provides a ``World``: its office, and the acts of its people.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest

from crypto.digests import digest
from crypto.errors import Unverified
from gateway.core.document import Document
from gateway.core.document_json import read_document_json
from gateway.core.errors import OfferGone
from gateway.core.exchange import State
from gateway.core.explain import explain
from gateway.core.manifest import PartEntry
from gateway.flow.ports import Act, BadOffer, Delivery, Offer, OfficeSystem, OpenedPart, RecipientStatus, Status

AT = datetime(2026, 7, 1, 8, 30, tzinfo=UTC)
EXCHANGE = "01981234-5678-7abc-8def-0123456789ab"
OTHER = "01981234-5678-7abc-8def-0123456789ac"
ORG, SENDER = "11350100MB00000038", "11350100MB00000025"
PARTS = (("通知.pdf", b"%PDF-1.7 body"), ("附件 预算.xlsx", b"PK\x03\x04" + bytes(200_000)), ("空.txt", b""))
REASONS = (explain("offer/no-document", at="document.json"),)


class World(Protocol):
    """One office and the people in it."""

    office: OfficeSystem

    def approve(self, source: str, document: Document, parts: Sequence[tuple[str, bytes]]) -> None: ...
    def approve_badly(self, source: str) -> None: ...
    def waits(self, source: str) -> bool: ...
    def refused_rules(self, source: str) -> list[str]: ...
    def states(self, direction: str, exchange: str) -> dict[str, str]: ...
    def delivered(self, exchange: str) -> dict[str, bytes] | None: ...
    def sign_for(self, exchange: str) -> None: ...
    def send_back(self, exchange: str, reason: str) -> None: ...
    def answer_refused(self, act: Act) -> bool: ...


def document(title: str = "关于召开会议的函") -> Document:
    text = json.dumps({"title": title, "level": "内部", "to": [ORG], "signature": ["榕城市财政局"], "writtenDate": "2026-07-01"})
    return read_document_json(text.encode()).document


def delivery(exchange: str = EXCHANGE, parts: Sequence[tuple[str, bytes]] = PARTS, *, broken_after: int | None = None) -> Delivery:
    """A delivery of these parts; ``broken_after`` bytes of the second part, its tag turns out wrong."""

    def chunks(index: int, content: bytes) -> Iterator[bytes]:
        for start in range(0, len(content), 65_536):
            if broken_after is not None and index == 1 and start >= broken_after:
                raise Unverified("tag", check="tag")
            yield content[start : start + 65_536]

    def opened() -> Iterator[OpenedPart]:
        for index, (name, content) in enumerate(parts):
            entry = PartEntry(
                name=name,
                role="attachment" if index else "body",
                level="internal",
                media_type="application/octet-stream",
                size=len(content),
                digest=digest("sha256", content),
            )
            yield OpenedPart(entry=entry, chunks=chunks(index, content))

    return Delivery(
        exchange=exchange,
        sender_org=SENDER,
        sender_name="榕城市财政局",
        level="internal",
        urgency="routine",
        received=AT,
        document=document(),
        parts=opened,
    )


def status(state: State, at: datetime = AT, direction: str = "out", exchange: str = EXCHANGE) -> Status:
    recipient = RecipientStatus(
        org=ORG, name="榕城市卫生健康委员会", state=state, at=at, events=(("ContentHandover", ORG, "2026-07-01T08:30:00Z"),)
    )
    return Status(exchange=exchange, direction=direction, title="关于召开会议的函", updated=at, recipients=(recipient,))


async def tray(office: OfficeSystem) -> dict[str, Offer | BadOffer]:
    return {offer.source: offer async for offer in office.offers()}


async def acts(office: OfficeSystem) -> list[Act]:
    return [act async for act in office.acts()]


def content(offer: Offer | BadOffer) -> list[tuple[str, bytes]]:
    assert isinstance(offer, Offer)
    return [(part.name, b"".join(part.read())) for part in offer.parts]


class OfficeContract:
    """Inherit and provide a ``world`` fixture."""

    @pytest.fixture
    def world(self) -> World:
        raise NotImplementedError

    # ---- offering

    async def test_an_approved_document_is_offered_as_it_is(self, world: World):
        world.approve("七月 通知", document(), PARTS)
        offer = (await tray(world.office))["七月 通知"]
        assert content(offer) == list(PARTS)
        assert offer.document == document()
        assert offer.recipients == ((ORG, "primary"),)
        assert [part.role for part in offer.parts] == ["body", "attachment", "attachment"]
        assert [part.size for part in offer.parts] == [len(data) for _, data in PARTS]
        assert next(part.media_type for part in offer.parts) == "application/pdf"

    async def test_an_offer_is_a_lease(self, world: World):
        world.approve("a", document(), PARTS)
        for _ in range(3):
            assert content((await tray(world.office))["a"]) == list(PARTS)
        assert world.waits("a")

    async def test_a_part_can_be_read_twice(self, world: World):
        world.approve("a", document(), PARTS)
        offer = (await tray(world.office))["a"]
        assert content(offer) == content(offer)

    async def test_the_longest_waiting_comes_first(self, world: World):
        for source in ("c", "a", "b"):
            world.approve(source, document(), PARTS)
            await asyncio.sleep(0.01)
        assert list(await tray(world.office)) == ["c", "a", "b"]

    async def test_a_bad_offer_says_why_and_leaves_others_alone(self, world: World):
        world.approve_badly("bad")
        world.approve("good", document(), PARTS)
        offers = await tray(world.office)
        assert isinstance(offers["bad"], BadOffer)
        assert all(reason.zh and reason.en and reason.fix and reason.rule for reason in offers["bad"].reasons)
        assert content(offers["good"]) == list(PARTS)

    # ---- settling

    async def test_settled_it_leaves_the_tray_and_can_be_fetched(self, world: World):
        world.approve("a", document(), PARTS)
        assert content(await world.office.fetch("a", EXCHANGE)) == list(PARTS)
        await tray(world.office)
        await world.office.settle("a", EXCHANGE)
        assert not world.waits("a")
        assert await tray(world.office) == {}
        assert content(await world.office.fetch("a", EXCHANGE)) == list(PARTS)

    async def test_settling_twice_is_settling_once(self, world: World):
        world.approve("a", document(), PARTS)
        await world.office.settle("a", EXCHANGE)
        await world.office.settle("a", EXCHANGE)
        assert content(await world.office.fetch("a", EXCHANGE)) == list(PARTS)

    async def test_settling_again_spares_a_new_document_of_the_same_name(self, world: World):
        world.approve("a", document(), PARTS)
        await world.office.settle("a", EXCHANGE)
        world.approve("a", document("关于另一件事的函"), PARTS)
        await world.office.settle("a", EXCHANGE)
        assert world.waits("a")
        assert content((await tray(world.office))["a"]) == list(PARTS)

    async def test_the_same_document_once_more_leaves_the_tray_saying_so(self, world: World):
        world.approve("a", document(), PARTS)
        await world.office.settle("a", EXCHANGE)
        world.approve("a", document(), PARTS)
        assert list(await tray(world.office)) == ["a"]
        await world.office.settle("a", EXCHANGE)
        assert await tray(world.office) == {}
        assert world.refused_rules("a") == ["offer/sent-before"]

    async def test_what_never_was_there_is_gone(self, world: World):
        with pytest.raises(OfferGone):
            await world.office.fetch("never", EXCHANGE)

    async def test_settling_what_vanished_is_no_error(self, world: World):
        await world.office.settle("vanished", EXCHANGE)
        await world.office.report(status(State.SEALED))
        assert world.states("out", EXCHANGE) == {ORG: "SEALED"}

    # ---- refusing

    async def test_refused_it_leaves_the_tray_with_its_reasons(self, world: World):
        world.approve("a", document(), PARTS)
        await tray(world.office)
        await world.office.refuse("a", REASONS)
        assert not world.waits("a")
        assert await tray(world.office) == {}
        assert world.refused_rules("a") == ["offer/no-document"]

    async def test_refusing_twice_is_refusing_once(self, world: World):
        world.approve("a", document(), PARTS)
        await world.office.refuse("a", REASONS)
        await world.office.refuse("a", (explain("offer/which-body"),))
        assert world.refused_rules("a") == ["offer/no-document"]

    async def test_a_bad_offer_can_be_refused(self, world: World):
        world.approve_badly("bad")
        bad = (await tray(world.office))["bad"]
        assert isinstance(bad, BadOffer)
        await world.office.refuse("bad", bad.reasons)
        assert await tray(world.office) == {}
        assert world.refused_rules("bad") == [reason.rule for reason in bad.reasons]

    # ---- reporting

    async def test_a_later_status_replaces_an_earlier_one(self, world: World):
        world.approve("a", document(), PARTS)
        await world.office.settle("a", EXCHANGE)
        await world.office.report(status(State.SEALED))
        await world.office.report(status(State.DELIVERED, AT + timedelta(seconds=1)))
        await world.office.report(status(State.SEALED))
        assert world.states("out", EXCHANGE) == {ORG: "DELIVERED"}

    async def test_a_report_before_settling_is_not_lost(self, world: World):
        world.approve("a", document(), PARTS)
        await world.office.report(status(State.SEALED))
        await world.office.settle("a", EXCHANGE)
        assert world.states("out", EXCHANGE) == {ORG: "SEALED"}
        assert content(await world.office.fetch("a", EXCHANGE)) == list(PARTS)

    # ---- delivering

    async def test_delivered_it_is_there_byte_for_byte(self, world: World):
        await world.office.deliver(delivery())
        assert world.delivered(EXCHANGE) == dict(PARTS)

    async def test_delivering_twice_changes_nothing(self, world: World):
        await world.office.deliver(delivery())
        await world.office.deliver(delivery(parts=(("other.txt", b"other"),)))
        assert world.delivered(EXCHANGE) == dict(PARTS)

    async def test_at_once_it_is_delivered_once(self, world: World):
        await asyncio.gather(*(world.office.deliver(delivery()) for _ in range(8)))
        assert world.delivered(EXCHANGE) == dict(PARTS)

    async def test_a_broken_delivery_leaves_nothing_and_can_be_repeated(self, world: World):
        with pytest.raises(Unverified):
            await world.office.deliver(delivery(broken_after=65_536))
        assert world.delivered(EXCHANGE) is None
        await world.office.deliver(delivery())
        assert world.delivered(EXCHANGE) == dict(PARTS)

    # ---- answering

    async def test_signed_for_until_acknowledged(self, world: World):
        await world.office.deliver(delivery())
        assert await acts(world.office) == []
        world.sign_for(EXCHANGE)
        first, again = await acts(world.office), await acts(world.office)
        assert [(act.exchange, act.kind, act.reason) for act in first] == [(EXCHANGE, "sign-for", "")]
        assert first == again
        assert first[0].actor
        await world.office.acknowledge(first[0])
        assert await acts(world.office) == []
        assert not world.answer_refused(first[0])

    async def test_acknowledging_twice_is_acknowledging_once(self, world: World):
        await world.office.deliver(delivery())
        world.sign_for(EXCHANGE)
        (act,) = await acts(world.office)
        await world.office.acknowledge(act)
        await world.office.acknowledge(act, REASONS)
        assert not world.answer_refused(act)

    async def test_a_return_carries_its_reason(self, world: World):
        await world.office.deliver(delivery())
        world.send_back(EXCHANGE, "附件缺页")
        assert [(act.kind, act.reason) for act in await acts(world.office)] == [("return", "附件缺页")]

    async def test_an_act_that_could_not_take_effect_says_so(self, world: World):
        await world.office.deliver(delivery())
        world.send_back(EXCHANGE, "附件缺页")
        (act,) = await acts(world.office)
        await world.office.acknowledge(act, REASONS)
        assert await acts(world.office) == []
        assert world.answer_refused(act)

    async def test_acts_of_two_documents_are_apart(self, world: World):
        await world.office.deliver(delivery())
        await world.office.deliver(delivery(OTHER))
        world.sign_for(OTHER)
        assert [act.exchange for act in await acts(world.office)] == [OTHER]
