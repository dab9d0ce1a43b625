"""Killed at every step: whatever the office of folders was doing, nothing is lost, doubled or half there, and doing it again finishes it.

A child process runs one verb and dies, without any clean-up, just before the n-th change to the disk; for every n until it survives.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from adapters import folder_files
from gateway.core.exchange import State
from gateway.flow.ports import Offer
from tests.adapters.contract import AT, EXCHANGE, ORG, PARTS, REASONS, acts, content, delivery, document, status, tray
from tests.adapters.folder_world import FolderWorld

CHANGES = ("open", "write", "fsync", "rename", "replace", "mkdir", "unlink", "rmdir")
MOST = 80  # more steps than any verb has


def dies_at(step: int, verb: Callable[[], None]) -> bool:
    """Whether the verb was killed before its ``step``-th change to the disk; False when it has fewer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the child runs one verb and never touches another thread
        child = os.fork()
    if child == 0:
        try:
            _count_down(step)
            verb()
            os._exit(0)
        finally:
            os._exit(3)  # the verb failed by itself
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in {0, 9}, "the verb itself failed"
    return code == 9


def _count_down(step: int) -> None:
    """In the child: let every call that changes the disk count, and die at the given one."""
    left = [step]

    def dying(call: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: object, **named: object) -> object:
            if call.__name__ != "open" or int(arguments[1]) & os.O_CREAT:  # opening for reading changes nothing
                left[0] -= 1
                if left[0] == 0:
                    os._exit(9)
            return call(*arguments, **named)

        return counted

    for name in CHANGES:
        setattr(os, name, dying(getattr(os, name)))
    folder_files.CHUNK = 65_536


def worlds(tmp_path: Path, prepare: Callable[[FolderWorld], None], verb: Callable[[FolderWorld], None]) -> Iterator[FolderWorld]:
    """For each step of the verb, a world in which it died there, entered by another process."""
    for step in range(1, MOST):
        world = FolderWorld(tmp_path / f"step-{step}")
        prepare(world)
        if not dies_at(step, lambda world=world: verb(world)):
            assert step > 4, "the verb has steps"
            return
        yield world.restart()
    raise AssertionError("the verb never ends")


def approved(world: FolderWorld) -> None:
    world.approve("a", document(), PARTS)


async def in_outbox(world: FolderWorld) -> bool:
    """Whether the offer waits, whole."""
    offers = await tray(world.office)
    assert set(offers) <= {"a"}
    if offers:
        assert isinstance(offers["a"], Offer)
        assert content(offers["a"]) == list(PARTS)
    return bool(offers)


async def test_killed_while_settling(tmp_path: Path):
    seen = set()
    for world in worlds(tmp_path, approved, lambda world: world.office._tray.settle("a", EXCHANGE)):
        waits = await in_outbox(world)
        seen.add(waits)
        assert waits != (world.root / "sent" / EXCHANGE / "document.json").exists()
        assert content(await world.office.fetch("a", EXCHANGE)) == list(PARTS)
        await world.office.settle("a", EXCHANGE)
        assert not await in_outbox(world)
        assert world.json("sent", EXCHANGE, "status.json")["source"] == "a"
        assert content(await world.office.fetch("a", EXCHANGE)) == list(PARTS)
        assert list((world.root / "refused").iterdir()) == []
        assert world.litter() == []
    assert seen == {True, False}


async def test_killed_while_settling_after_a_report(tmp_path: Path):
    def reported(world: FolderWorld) -> None:
        approved(world)
        world.office._tray.report(status(State.DELIVERED))

    for world in worlds(tmp_path, reported, lambda world: world.office._tray.settle("a", EXCHANGE)):
        await world.office.settle("a", EXCHANGE)
        assert world.states("out", EXCHANGE) == {ORG: "DELIVERED"}
        assert content(await world.office.fetch("a", EXCHANGE)) == list(PARTS)
        assert world.litter() == []


async def test_killed_while_refusing(tmp_path: Path):
    for world in worlds(tmp_path, approved, lambda world: world.office._tray.refuse("a", REASONS)):
        waits = await in_outbox(world)
        assert waits != (world.root / "refused" / "a").exists()
        await world.office.refuse("a", REASONS)
        assert not await in_outbox(world)
        assert world.refused_rules("a") == ["offer/no-document"]
        assert [path.name for path in (world.root / "refused").iterdir()] == ["a"]
        assert world.litter() == []


async def test_killed_while_refusing_what_cannot_hold_reasons(tmp_path: Path):
    def linked(world: FolderWorld) -> None:
        (world.root / "outbox" / "a").symlink_to("/nowhere")

    for world in worlds(tmp_path, linked, lambda world: world.office._tray.refuse("a", REASONS)):
        await world.office.refuse("a", REASONS)
        assert await tray(world.office) == {}
        held = [path.name for path in (world.root / "refused").iterdir() if (path / "offered").is_symlink()]
        assert len(held) == 1
        assert world.refused_rules(held[0]) == ["offer/no-document"]


async def test_killed_while_delivering(tmp_path: Path):
    seen = set()
    for world in worlds(tmp_path, lambda world: None, lambda world: world.office._inbox.deliver(delivery())):
        there = world.delivered(EXCHANGE)
        seen.add(there is None)
        assert there is None or there == dict(PARTS)
        assert world.litter() == []  # swept at the start
        await world.office.deliver(delivery())
        assert world.delivered(EXCHANGE) == dict(PARTS)
        assert world.json("inbox", EXCHANGE, "status.json")["exchange"] == EXCHANGE
        assert [path.name for path in (world.root / "inbox").iterdir()] == [EXCHANGE]
    assert seen == {True, False}


async def test_killed_while_reporting(tmp_path: Path):
    def settled(world: FolderWorld) -> None:
        approved(world)
        world.office._tray.settle("a", EXCHANGE)
        world.office._tray.report(status(State.SEALED))

    later = status(State.DELIVERED, AT + timedelta(seconds=1))
    for world in worlds(tmp_path, settled, lambda world: world.office._tray.report(later)):
        assert world.states("out", EXCHANGE)[ORG] in {"SEALED", "DELIVERED"}
        await world.office.report(later)
        assert world.states("out", EXCHANGE) == {ORG: "DELIVERED"}
        assert world.json("sent", EXCHANGE, "status.json")["source"] == "a"


@pytest.mark.parametrize("reasons", [(), REASONS], ids=["done", "refused"])
async def test_killed_while_acknowledging(tmp_path: Path, reasons):
    def signed(world: FolderWorld) -> None:
        world.office._inbox.deliver(delivery())
        world.sign_for(EXCHANGE)

    def acknowledge(world: FolderWorld) -> None:
        (act,) = world.office._inbox.answers()
        world.office._inbox.acknowledge(act, reasons)

    for world in worlds(tmp_path, signed, acknowledge):
        for act in await acts(world.office):
            assert (act.exchange, act.kind) == (EXCHANGE, "sign-for")
            await world.office.acknowledge(act, reasons)
        assert await acts(world.office) == []
        folder = world.root / "inbox" / EXCHANGE
        assert (folder / "SIGNED.refused").exists() == bool(reasons)
        assert (folder / "SIGNED.done").exists() != bool(reasons)
        (told,) = world.json("inbox", EXCHANGE, "status.json")["acts"]
        assert told["outcome"] == ("refused" if reasons else "done")
        assert world.delivered(EXCHANGE) == dict(PARTS)
