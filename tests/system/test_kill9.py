"""No loss, never twice: two real gateways, the receiver killed with SIGKILL at random moments while documents flow, and now and then
the sender too.
"""

from __future__ import annotations

import random
import time

import pytest

from tests.system.town import FINANCE, Town

pytestmark = pytest.mark.system

DOCUMENTS = 200
BACK_OFF = 90.0  # seconds: what failed seven times during the kills may rest 64 s before it is tried again
KILLS = 20


def test_two_hundred_documents_and_twenty_kills(tmp_path):
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")  # noqa: T201  # shown when it fails
    chance = random.Random(seed)
    sent: dict[str, bytes] = {}
    with Town(tmp_path) as town:
        for kill in range(KILLS):
            for number in range(kill * DOCUMENTS // KILLS, (kill + 1) * DOCUMENTS // KILLS):
                name = f"doc-{number:03d}"
                size = chance.choice([300, 2_000, 20_000, 90_000]) if number % 25 else 1_500_000
                sent[name] = chance.randbytes(size)
                town.office.send(name, [FINANCE.code], {"正文.pdf": sent[name]})
            # Now and then it dies while it starts, mostly a moment after it is at work again.
            time.sleep(chance.random() * 0.8)
            town.kill("finance")
            town.start("finance", ready=chance.random() < 0.8)
            if kill % 6 == 5:
                town.kill("office")
                town.start("office", ready=False)
        town.city.wait_ready("office")
        town.city.wait_ready("finance")
        town.wait(lambda: len(town.finance.inbox()) >= DOCUMENTS, "every document in the inbox", BACK_OFF)
        town.wait(lambda: states(town) == ["DELIVERED"] * DOCUMENTS, "every sender's status", BACK_OFF)
        assert town.end("finance") == 0
        assert town.end("office") == 0
        arrived = sorted((folder / "正文.pdf").read_bytes() for folder in town.finance.inbox().values())
        assert len(arrived) == DOCUMENTS, "each exactly once"
        assert arrived == sorted(sent.values())
        assert {status["exchange"] for status in town.office.statuses().values()} == set(town.finance.inbox())
        assert not list((town.office.root / "outbox").iterdir())
        assert not list((town.office.root / "refused").iterdir())
        for desk in (town.office, town.finance):
            assert desk.prove() > DOCUMENTS


def states(town: Town) -> list[str]:
    return [each["state"] for status in town.office.statuses().values() for each in status["recipients"]]
