"""The office in memory keeps the promises of every office."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from adapters.memory import MemoryOffice
from gateway.core.document import Document
from gateway.core.explain import explain
from gateway.flow.ports import Act, BadOffer
from tests.adapters.contract import EXCHANGE, ORG, PARTS, OfficeContract, delivery


class MemoryWorld:
    def __init__(self) -> None:
        self.office = MemoryOffice()

    def approve(self, source: str, document: Document, parts: Sequence[tuple[str, bytes]]) -> None:
        self.office.approve(source, document, ((ORG, "primary"),), parts)

    def approve_badly(self, source: str) -> None:
        self.office.tray[source] = BadOffer(source=source, reasons=(explain("offer/no-document"),))

    def waits(self, source: str) -> bool:
        return source in self.office.tray

    def refused_rules(self, source: str) -> list[str]:
        return [reason.rule for reason in self.office.refused[source]]

    def states(self, direction: str, exchange: str) -> dict[str, str]:
        return {each.org: each.state for each in self.office.statuses[direction, exchange].recipients}

    def delivered(self, exchange: str) -> dict[str, bytes] | None:
        there = self.office.inbox.get(exchange)
        return None if there is None else {entry.name: data for entry, data in zip(there.entries, there.content, strict=True)}

    def sign_for(self, exchange: str) -> None:
        self.office.sign_for(exchange)

    def send_back(self, exchange: str, reason: str) -> None:
        self.office.send_back(exchange, reason)

    def answer_refused(self, act: Act) -> bool:
        return bool(self.office.answered[act.id])


class TestMemoryOffice(OfficeContract):
    @pytest.fixture
    def world(self) -> MemoryWorld:
        return MemoryWorld()


async def test_counting_only_it_keeps_no_content():
    office = MemoryOffice(keep_content=False)
    await office.deliver(delivery())
    assert office.inbox[EXCHANGE].content == ()
    assert [entry.size for entry in office.inbox[EXCHANGE].entries] == [len(data) for _, data in PARTS]
