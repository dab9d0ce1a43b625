"""The last checks before ACCEPTED: a person where policy wants one, and a life that is not over while the content was opened."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.core.policy import Hold, decide
from gateway.core.policy.builtin import level_missing
from gateway.flow import inbound, opening
from gateway.flow.leaves import word
from tests.flow.test_time import LIFE, PAIR, unreached
from tests.flow.test_uploads import LARGE
from tests.flow.world import World

SMALL, MIDDLE = b"small", LARGE[:200_000]


@pytest.mark.parametrize("content", [SMALL, MIDDLE, LARGE], ids=["row", "blob", "upload"])
async def test_policy_may_hold_what_was_found_in_the_content(tmp_path, monkeypatch, content):
    """Check 12 knows three answers: a hold is a hold there as it is for the cover."""

    def wary(policy, question):
        found = question.side == "receive" and question.parts
        return Hold(reasons=(level_missing(),)) if found else decide(policy, question)

    monkeypatch.setattr(opening, "decide", wary)
    monkeypatch.setattr(opening, "decide_parts", wary)
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        exchange = await world.send(parts=[("正文.pdf", content)])
        assert await finance.state("in", exchange) == "HELD"
        assert await office.state("out", exchange) == "SEALED"
        assert finance.office.inbox == {}
        assert await finance.receipts("in", exchange) == ()
        assert f"held:{word(level_missing().rule)}" in await finance.leaves(exchange)
        assert not finance.orphans()
        assert finance.rooms.uploads.all() == ()
        assert finance.rooms.blobs.headroom._promised == 0
        await world.retry()
        assert await finance.state("in", exchange) == "HELD"


@pytest.mark.parametrize("content", [SMALL, MIDDLE, LARGE], ids=["row", "blob", "upload"])
async def test_what_expires_while_it_is_opened_is_not_accepted(tmp_path, monkeypatch, content):
    """ACCEPTED commits only while now is within ``expires``: looked at again with the time right before the transaction."""
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        exchange = await unreached(world, parts=[("正文.pdf", content)])
        await world.pass_(LIFE - timedelta(minutes=1))
        open_content = inbound.open_content

        def slow(*arguments):
            opened = open_content(*arguments)
            world.time.pass_(timedelta(minutes=2))
            return opened

        monkeypatch.setattr(inbound, "open_content", slow)
        office.line.down.clear()
        await world.retry()
        assert await finance.state("in", exchange) == "REFUSED"
        assert await finance.events("in", exchange) == ["ContentConsignmentFailure"]
        assert "refused:expired" in await finance.leaves(exchange)
        assert finance.office.inbox == {}
        assert not finance.orphans()
        assert await office.state("out", exchange) == "REFUSED_BY_RECIPIENT"


def test_content_opened_again_ends_only_when_its_tag_holds():
    """The hand-over computes no digest anew: whatever the disk changed, no part is ever complete."""
    from crypto.content_cipher import ContentEncryptor, fresh_content_key
    from crypto.errors import Unverified
    from crypto.suites import INTL_1
    from gateway.core.content import PartEnded
    from tests.core.samples import packed

    data, manifest_digest, _ = packed(("正文.ofd", b"x" * 5000))
    key = fresh_content_key(INTL_1)
    cipher = ContentEncryptor(key)
    sealed = cipher.update(data)
    key = key.with_tag(cipher.finalize())
    whole = list(opening.reopen(key, iter((sealed[:700], sealed[700:])), manifest_digest, INTL_1))
    assert isinstance(whole[-1], PartEnded)
    place = data.index(b"x" * 5000) + 2500
    damaged = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
    seen = []
    with pytest.raises(Unverified):
        for event in opening.reopen(key, iter((damaged,)), manifest_digest, INTL_1):
            seen.append(event)  # noqa: PERF402  # what was seen before it raised
    assert seen
    assert not any(isinstance(event, PartEnded) for event in seen)
