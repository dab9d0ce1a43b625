"""What stays ours: no name, title or account in the clear, sealed fields that open for one use alone, and memory enough to decide again."""

from __future__ import annotations

import asyncio
import base64
import logging
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from crypto.errors import Unverified
from crypto.suites import suite_named
from gateway.core.leaf import Leaf
from gateway.core.step import Remember, Step
from gateway.flow.accounts import name_of
from gateway.flow.private import open_private, source_digest
from gateway.flow.sealing import kept_key
from tests.flow.test_time import PAIR, unreached
from tests.flow.world import World

TITLE = "关于张三同志免职的通知"


def everything_on_disk(node) -> bytes:
    """Every row of every table, and every file beside the database."""
    with closing(sqlite3.connect(f"file:{node.home / 'yizhan.db'}?mode=ro", uri=True)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [row for table in tables for row in connection.execute(f"SELECT * FROM {table}")]
    text = "\n".join(str(value) if not isinstance(value, bytes) else value.decode("utf-8", "replace") for row in rows for value in row)
    files = b"".join(file.read_bytes() for file in node.home.rglob("*") if file.is_file())
    return text.encode() + files


# ---- the office's own names ----------------------------------------------------------------------------------------------------------


async def test_a_folder_named_by_its_title_stands_nowhere_in_the_clear(tmp_path, caplog):
    """Taken, settled, refused, turned away, waiting, sealed again after a restart: no table, no file, no line of the log says it."""
    caplog.set_level(logging.DEBUG)
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        office.office.closed |= {"settle", "refuse"}
        office.approve(f"{TITLE}-1", TITLE, finance.code)
        office.approve(f"{TITLE}-2", TITLE, finance.code, level="secret")
        office.approve(f"{TITLE}-3", TITLE, office.code)
        await world.settle()
        assert "settle" in await office.works()
        assert (await office.works()).count("refuse") == 2
        world.authority.silent = True
        office.approve(f"{TITLE}-4", TITLE, finance.code)
        await world.settle()
        assert "seal" in await office.works()
        office.fill_disk()
        office.approve(f"{TITLE}-5", TITLE, finance.code)
        await world.settle()
        office.free_disk()
        assert TITLE.encode() not in everything_on_disk(office)
        await office.restart()
        world.authority.silent = False
        await office.stamp()
        office.office.closed.clear()
        await world.retry()
        assert sorted(offer.source for offer in office.office.sent.values()) == [f"{TITLE}-1", f"{TITLE}-4", f"{TITLE}-5"]
        assert sorted(office.office.refused) == [f"{TITLE}-2", f"{TITLE}-3"]
        assert TITLE.encode() not in everything_on_disk(office)
    assert TITLE not in caplog.text


async def test_an_offer_that_waits_is_known_in_the_log_by_twelve_characters(tmp_path, caplog):
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        office.scratch_ceiling = 0
        await office.restart()
        office.approve(TITLE, TITLE, world["finance"].code)
        await world.settle()
        digest = source_digest(office.rooms.standing, office.office.name, TITLE)
        assert f"offer {digest[:12]} waits" in caplog.text
        assert digest[:13] not in caplog.text


async def test_the_same_name_is_known_again(tmp_path):
    """Two offers of one name are told apart from two of different names, also after a restart."""
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        exchange = await world.send("notice")
        row = await office.row("out", exchange)
        assert len(row.source) == 64
        await office.restart()
        office.approve("notice", "另一份", finance.code)
        await world.settle()
        assert [reason.rule for reason in office.office.refused["notice"]] == ["offer/source-open"]


# ---- accounts ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("account", ["wang-li", "王丽", "DOMAIN\\王 丽", "-", "x" * 300, "", "n\udce4me"])
async def test_an_account_of_any_name_signs_and_the_log_knows_its_number_alone(tmp_path, account):
    async with World(tmp_path, keys=PAIR) as world:
        finance = world["finance"]
        first, second = await world.send("first"), await world.send("second")
        finance.office.sign_for(first, actor=account)
        finance.office.send_back(second, "缺附件", actor=account)
        await world.settle()
        assert [await finance.state("in", exchange) for exchange in (first, second)] == ["SIGNED_FOR", "RETURNED"]
        actors = {await actor_of(finance, first, "signed-for"), await actor_of(finance, second, "returned")}
        (number,) = actors
        assert number.startswith("a-")
        if len(account) > 1:
            assert account.encode("utf-8", "surrogateescape") not in everything_on_disk(finance)
        sealed = await finance.rooms.ledger.remembered(name_of(number))
        opened = finance.rooms.standing.storage_key.open(base64.b64decode(sealed), name_of(number).encode())
        assert opened.decode("utf-8", "surrogateescape") == account


async def actor_of(node, exchange, kind) -> str:
    key = (await node.row("in", exchange)).key
    leaves = [Leaf.from_bytes(body) for _, body in await node.rooms.ledger.leaves(key)]
    return next(leaf.actor.id for leaf in leaves if leaf.kind == kind)


async def test_two_acts_of_one_account_in_one_moment_have_one_number(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        accounts = world["finance"].journey.handover._accounts
        numbers = await asyncio.gather(*(accounts.number("王丽") for _ in range(5)), accounts.number("李明"))
        assert len(set(numbers[:5])) == 1
        assert numbers[5] != numbers[0]


async def test_a_number_outlives_a_restart_and_can_be_forgotten(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        finance = world["finance"]
        number = await finance.journey.handover._accounts.number("王丽")
        await finance.restart()
        assert await finance.journey.handover._accounts.number("王丽") == number
        await finance.rooms.record(Step(changes=(Remember(name=name_of(number), value=""),)))
        assert await finance.rooms.ledger.remembered(name_of(number)) == ""


# ---- sealed fields -------------------------------------------------------------------------------------------------------------------


async def test_a_sealed_field_opens_for_its_own_use_and_direction_alone(tmp_path):
    """Whoever moves sealed bytes to another column, or to the other side of the same exchange, gets nothing."""
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        exchange = await world.send()
        row, standing = await office.row("out", exchange), office.rooms.standing
        suite = suite_named(row.suite)
        assert open_private(standing.storage_key, "out", exchange, row.private).source == "notice"
        kept_key(standing, "out", exchange, suite, row.own_key)
        for misuse in (
            lambda: open_private(standing.storage_key, "in", exchange, row.private),
            lambda: open_private(standing.storage_key, "out", exchange, row.own_key),
            lambda: kept_key(standing, "in", exchange, suite, row.own_key),
            lambda: kept_key(standing, "out", exchange, suite, row.private),
        ):
            with pytest.raises(Unverified):
                misuse()


# ---- deciding again ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("again", ["hot", "cold"])
async def test_deciding_again_knows_the_parts(tmp_path, again):
    """The policy no longer lets PDF pass: sealed and unsent, it is stopped, whether or not a restart came between."""
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        exchange = await unreached(world)
        private = open_private(office.rooms.standing.storage_key, "out", exchange, (await office.row("out", exchange)).private)
        assert [(part.name, part.media_type) for part in private.parts] == [("正文.pdf", "application/pdf")]
        policy, policy_bytes = office.policy
        handling = {level: replace(one, types=("text/plain",)) for level, one in policy.levels.items()}
        if again == "cold":
            office.policy = replace(policy, levels=handling), policy_bytes
            await office.restart()
        else:
            office.rooms.standing.policy = replace(policy, levels=handling, digest="sha256:" + "1" * 64)
        office.line.down.clear()
        await world.retry()
        assert await office.state("out", exchange) == "REFUSED"
        assert world["finance"].office.inbox == {}
