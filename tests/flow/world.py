"""A small world in one process: agencies with real gateways, disks, keys and offices, a time authority, and wires between them.

Only three things are simulated, each a little world of its own: the wire (``Line``: loses, cuts, doubles, alters what it carries), the
clock (``WorldClock``: everybody's truth plus a skew of one's own) and the time authority, which lives in this process. Nothing of the
journey itself is replaced.

    async with World(tmp_path) as world:
        office, finance = world["office"], world["finance"]
        office.approve("notice", "关于……的通知", finance.code)
        await world.settle()
        assert office.state_of("notice", finance.code) == "DELIVERED"
"""

from __future__ import annotations

import asyncio
import functools
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

from adapters.memory import MemoryOffice
from crypto.certificates import Certificate, ChainCache, CrlStale, Trust
from crypto.content_cipher import StorageKey
from crypto.errors import KeyUnusable
from crypto.keys import Signer
from crypto.notes import LogKey
from crypto.suites import INTL_1, Suite
from gateway.core.directory import (
    AuthorityEntry,
    Directory,
    DirectoryExpired,
    Entry,
    GatewayEntry,
    GatewayLink,
    Names,
    OrganisationEntry,
    certificate_text,
)
from gateway.core.document import Addressee, Document
from gateway.core.errors import OfficeUnavailable, ProblemError
from gateway.core.explain import Reason
from gateway.core.policy import Policy, load_policy
from gateway.core.step import Work
from gateway.flow.agenda import Agenda
from gateway.flow.clockguard import ClockGuard
from gateway.flow.failing import Failing
from gateway.flow.hot import Hot
from gateway.flow.journey import Journey
from gateway.flow.ports import (
    Act,
    Answer,
    Delivery,
    ExchangeRow,
    Receipted,
    ReceiptRow,
    SignedReceipt,
    Status,
)
from gateway.flow.pressure import OpenLimits
from gateway.flow.rooms import Rooms
from gateway.flow.stage import Stage
from gateway.flow.standing import AbsentSigner, DirectoryPapers, Standing
from gateway.pilot_directory import Listing
from gateway.store.audit import verify_log
from gateway.store.blobs import FolderBlobs
from gateway.store.files import Headroom
from gateway.store.fsck import fsck
from gateway.store.journal import Journal
from gateway.store.ledger import Ledger
from gateway.store.scratch import SealedScratch
from gateway.store.uploads import FolderUploads
from tests.crypto.pki import Holder, Organisation, pki_for
from tests.flow.wire import Fault, Line, LocalAuthority, WorldClock, WorldTime, flipped

MIB = 1024 * 1024
POLICY = resources.files("policies").joinpath("default.toml").read_bytes()
QUIET_SECONDS = 20.0  # a world that is still busy after this hangs


# ---- one agency ------------------------------------------------------------------------------------------------------------------


class CountingGauges:
    """What people watch, remembered."""

    def __init__(self) -> None:
        self.outcomes: list[tuple[str, str, str, str]] = []
        self.refusals: Counter[str] = Counter()
        self.reminders: Counter[str] = Counter()
        self.moved: Counter[str] = Counter()
        self.stages: Counter[str] = Counter()

    def outcome(self, direction: str, state: str, level: str, peer: str) -> None:
        self.outcomes.append((direction, str(state), level, peer))

    def latency(self, stage: str, seconds: float) -> None:
        assert seconds >= 0.0
        self.stages[stage] += 1

    def bytes_moved(self, direction: str, peer: str, count: int) -> None:
        self.moved[direction] += count

    def refused(self, code: str, peer: str) -> None:
        self.refusals[code] += 1

    def reminded(self, direction: str, code: str) -> None:
        self.reminders[code] += 1


class Office(MemoryOffice):
    """A memory office that can be closed, verb by verb."""

    def __init__(self) -> None:
        super().__init__()
        self.closed: set[str] = set()

    def _open(self, verb: str) -> None:
        if verb in self.closed:
            raise OfficeUnavailable("the office is closed")

    async def settle(self, source: str, exchange: str) -> None:
        self._open("settle")
        await super().settle(source, exchange)

    async def refuse(self, source: str, reasons: Sequence[Reason]) -> None:
        self._open("refuse")
        await super().refuse(source, reasons)

    async def report(self, status: Status) -> None:
        self._open("report")
        await super().report(status)

    async def deliver(self, delivery: Delivery) -> None:
        self._open("deliver")
        await super().deliver(delivery)

    async def acknowledge(self, act: Act, reasons: Sequence[Reason] = ()) -> None:
        self._open("acknowledge")
        await super().acknowledge(act, reasons)


class Node:
    """One agency: its home on disk, its office, and its gateway while it runs. ``crash`` and ``start`` make a restart."""

    poll_seconds = 0.02

    def __init__(self, world: World, key: str, organisation: Organisation, home: Path) -> None:
        self.key = key
        self.code = organisation.code
        self.gateway = organisation.gateway
        self.organisation = organisation
        self.home = home
        self.world = world
        self.clock = WorldClock(world.time)
        self.office = Office()
        self.lives = 0
        self.jitter = random.random
        self.crashing = False
        self.line = Line(world, organisation.gateway)
        self.gauges = CountingGauges()
        self.signing: Holder = organisation.signing
        self.encryption: Holder = organisation.encryption
        self.key_away = False
        self.policy: tuple[Policy, bytes] = policy_of()
        self.min_free = 0
        self.open_limits = OpenLimits()
        self.scratch_ceiling = 512 * MIB
        self.trust: Trust = world.pki.trust
        self.rooms: Rooms
        self.journey: Journey
        self._log_key = LogKey.generate(f"{self.gateway}/1")
        self._storage_key = StorageKey(b"k" * 32)
        self._running: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        home.mkdir(parents=True)

    # ---- life

    @property
    def alive(self) -> bool:
        return self._running is not None

    @property
    def origin(self) -> str:
        return f"{self.gateway}/1/2026.1"

    async def start(self) -> None:
        """Open the disk and live; ready on return, with a confirmed clock unless the authority is silent."""
        assert self._running is None
        self._stop = asyncio.Event()
        self.lives += 1
        self.crashing = False
        begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running = asyncio.create_task(self._live(begun), name=f"node {self.key}")
        await asyncio.wait({begun, self._running}, return_when=asyncio.FIRST_COMPLETED)
        if self._running.done():
            await self._end()
        await self.stamp()

    async def stop(self) -> None:
        """An orderly end."""
        self._stop.set()
        await self._end()

    async def crash(self) -> None:
        """End at once: what runs is cut off wherever it is, nothing is said any more."""
        self.crashing = True
        for task in list(self.group._tasks):
            task.cancel()
        await self.stop()

    async def restart(self) -> None:
        await self.crash()
        await self.start()

    async def _end(self) -> None:
        assert self._running is not None
        try:
            await self._running
        finally:
            self._running = None

    async def _live(self, begun: asyncio.Future[None]) -> None:
        journal = Journal.open(
            self.home / "yizhan.db", log_key=self._log_key, origin=self.origin, mark=self.home / "mark", min_free=self.min_free
        )
        ledger = Ledger(self.home / "yizhan.db")
        stages = Stage("out"), Stage("in")
        headroom = Headroom(self.home, self.min_free)
        blobs = FolderBlobs(self.home / "blobs", headroom)
        uploads = FolderUploads(self.home / "uploads", blobs)
        try:
            failing = Failing(self.clock, self.jitter)
            self.rooms = Rooms(
                standing=self._standing(),
                clock=self.clock,
                guard=ClockGuard(),
                journal=journal,
                ledger=ledger,
                blobs=blobs,
                uploads=uploads,
                scratch=SealedScratch(self.home / "scratch", self.scratch_ceiling, headroom),
                office=self.office,
                link=self.line,
                tokens={self.world.suite.id: self.world.authority},
                gauges=self.gauges,
                agenda=Agenda(self.clock.now, failing.failed),
                stage_out=stages[0],
                stage_in=stages[1],
                hot_out=Hot(MIB),
                hot_in=Hot(MIB),
                hot_receipts=Hot(MIB),
                failing=failing,
                open_limits=self.open_limits,
            )
            self.journey = Journey(self.rooms, poll_seconds=self.poll_seconds, in_flight=8)
            async with asyncio.TaskGroup() as self.group:
                await self.journey.start(self.group)
                begun.set_result(None)
                await self._until_stopped()
        finally:
            self.rooms.let_go()
            uploads.close()
            for stage in stages:
                stage.close()
            ledger.close()
            journal.close()

    async def _until_stopped(self) -> None:
        """What the process does between start and end, inside the task group."""
        await self._stop.wait()
        self.rooms.standing.accepts_work = False
        self.rooms.agenda.stop()

    def _standing(self) -> Standing:
        directory, papers = self.world.open_directory(self.trust, self.clock.now())
        return Standing(
            organisation=self.code,
            gateway=self.gateway,
            name=self.organisation.name,
            signers={self.world.suite.id: self._signer()},
            unwrappers={self.world.suite.id: (self.encryption.unwrapper,)},
            storage_key=self._storage_key,
            policy=self.policy[0],
            policy_bytes=self.policy[1],
            directory=directory,
            papers=papers,
            chains=ChainCache(self.trust),
            accepts_work=False,
        )

    def _signer(self) -> Signer:
        """Our signing key, or the place where it should be."""

        def call() -> Signer:
            if self.key_away:
                raise KeyUnusable("still away")
            return self.signing.signer

        return (
            AbsentSigner(suite=self.world.suite, certificate=self.signing.certificate, call=call) if self.key_away else self.signing.signer
        )

    def lose_key(self) -> None:
        """The holder of our signing key is away from now on, and after a restart, until ``key_away`` is taken back and somebody calls."""
        self.key_away = True
        self.rooms.standing.signers = {self.world.suite.id: self._signer()}
        self.rooms.degraded.forget()

    # ---- what changes around it

    async def stamp(self) -> bool:
        """One look at the time authority."""
        return await self.journey.watching.attempt("time authority", self.journey.watching.stamp_checkpoint)

    async def adopt(self) -> None:
        """Take the newest directory into use, as the renewal does."""
        self.rooms.standing.adopt(*self.world.open_directory(self.trust, self.clock.now()))
        await self.journey.watching.adopted()

    def enact(self, *changes: tuple[str, str]) -> None:
        """Another policy is in force from now on, and after a restart."""
        self.policy = policy_of(*changes)
        self.rooms.standing.policy, self.rooms.standing.policy_bytes = self.policy

    def believe(self, trust: Trust) -> None:
        """Other roots or revocation lists, from now on and after a restart."""
        self.trust = trust
        self.rooms.standing.chains = ChainCache(trust)

    # ---- what its people do and see

    def approve(self, source: str, title: str, *to: str, parts: Sequence[tuple[str, bytes]] | None = None, **fields: Any) -> None:
        """Put a document into the tray; ``to`` are organisation codes."""
        document = Document(
            **{
                "title": title,
                "level": "internal",
                "urgency": "routine",
                "primary_recipients": tuple(Addressee(org=org) for org in to),
                **fields,
            }
        )
        self.office.approve(source, document, [(org, "primary") for org in to], parts or [("正文.pdf", f"{title} {source}".encode() * 40)])

    def exchange_of(self, source: str) -> str:
        """The one exchange the office was told its offer became."""
        found = [exchange for exchange, offer in self.office.sent.items() if offer.source == source]
        assert len(found) == 1, f"{source} became {found}"
        return found[0]

    async def row(self, direction: Literal["out", "in"], exchange: str) -> ExchangeRow:
        """The exchange of that id, or of that id and sender (``<id>-<organisation>``), in that direction."""
        found = [row for row in await self.rooms.ledger.beginning(exchange) if row.direction == direction]
        assert len(found) == 1, f"{self.key} knows {len(found)} {direction} exchanges {exchange}"
        return found[0]

    async def state(self, direction: Literal["out", "in"], exchange: str, recipient: str | None = None) -> str:
        """Where a passage stands by the ledger; the only one where ``recipient`` is not said."""
        states = {passage.recipient: str(passage.state) for passage in (await self.row(direction, exchange)).passages}
        if recipient is None:
            assert len(states) == 1, states
            return next(iter(states.values()))
        return states[recipient]

    async def events(self, direction: Literal["out", "in"], exchange: str) -> list[str]:
        return [receipt.event for receipt in await self.receipts(direction, exchange)]

    async def receipts(self, direction: Literal["out", "in"], exchange: str) -> tuple[ReceiptRow, ...]:
        return await self.rooms.ledger.receipts(direction, (await self.row(direction, exchange)).key)

    async def leaves(self, exchange: str) -> list[str]:
        """What the log says about an exchange, by whomever it was sent: kind and, after a colon, the reason where there is one."""
        found: dict[int, bytes] = {}
        for key in {exchange, *(row.key for row in await self.rooms.ledger.beginning(exchange))}:
            found |= await self.rooms.ledger.leaves(key)
        return [_gist(leaf) for _, leaf in sorted(found.items())]

    async def log(self) -> list[str]:
        """Every leaf's gist."""
        gists, index = [], 0
        while (leaf := await self.rooms.ledger.leaf(index)) is not None:
            gists.append(_gist(leaf))
            index += 1
        return gists

    async def works(self) -> list[str]:
        """What is due, by the database."""
        return sorted(work.kind for work in await self.rooms.ledger.due())

    def delivered(self, exchange: str) -> tuple[bytes, ...]:
        return self.office.inbox[exchange].content

    # ---- waiting

    async def delivered_one(self, exchange: str) -> None:
        """Wait until the office has it."""
        async with asyncio.timeout(QUIET_SECONDS):
            while exchange not in self.office.inbox:  # noqa: ASYNC110  # nobody sets an event for a memory office
                await asyncio.sleep(0.01)

    @property
    def busy(self) -> bool:
        return self.alive and bool(self.group._tasks or self.rooms.agenda._present)

    def hurry(self, *kinds: str) -> int:
        """Do now what is put off, of these kinds or of all; how much that was."""
        agenda = self.rooms.agenda
        chosen = [(key, timer, work) for key, (timer, work) in agenda._later.items() if not kinds or work.kind in kinds]
        for key, timer, work in chosen:
            timer.cancel()
            del agenda._later[key]
            agenda._enqueue(work)
        return len(chosen)

    @property
    def put_off(self) -> dict[str, Work]:
        return {key: work for key, (_, work) in self.rooms.agenda._later.items()}

    def fill_disk(self) -> None:
        """From now on nothing more may be written."""
        self._set_room(1 << 62)

    def free_disk(self) -> None:
        self._set_room(self.min_free)

    def _set_room(self, min_free: int) -> None:
        for headroom in (self.rooms.journal._headroom, self.rooms.blobs.headroom):  # type: ignore[attr-defined]
            headroom._min_free = min_free
        self.rooms.journal._room_seen = float("-inf")  # type: ignore[attr-defined]

    # ---- proof

    def scratch_bytes(self) -> int:
        """Plaintext still held."""
        return self.rooms.scratch._bytes  # type: ignore[attr-defined]

    def examine(self) -> None:
        """The independent readers are content."""
        report = verify_log(self.home / "yizhan.db", self.home / "mark", self._log_key.verifier.vkey, self.origin)
        assert report.ok, report.findings
        findings = [finding for finding in fsck(self.home / "yizhan.db", self.home / "blobs") if finding.severity != "note"]
        assert not findings, findings

    def orphans(self) -> list[str]:
        """Blobs nobody names."""
        return [finding.what for finding in fsck(self.home / "yizhan.db", self.home / "blobs") if "no exchange" in finding.what]


def _gist(leaf: bytes) -> str:
    from gateway.core.leaf import Leaf

    read = Leaf.from_bytes(leaf)
    return f"{read.kind}:{read.reason}" if read.reason else f"{read.kind}"


@functools.cache
def policy_of(*changes: tuple[str, str]) -> tuple[Policy, bytes]:
    """The default policy with these texts replaced, and of its own tests only one it always passes."""
    text = POLICY.decode()
    if changes:
        text = (
            text[: text.index("[[tests]]")]
            + text[text.index('[[tests]]\nname = "绝密') : text.index('[[tests]]\nname = "a document without')]
        )
    for old, new in changes:
        assert old in text, f"the policy says no {old!r}"
        text = text.replace(old, new)
    return load_policy(text.encode()), text.encode()


# ---- the world -------------------------------------------------------------------------------------------------------------------

Editing = Callable[[dict[str, Entry]], None]


class World:
    """Three agencies of one PKI, alive inside ``async with``. Leaving it proves every log and disk."""

    def __init__(
        self,
        folder: Path,
        *,
        suite: Suite = INTL_1,
        keys: Sequence[str] = ("office", "finance", "health"),
        time: WorldTime | None = None,
        nodes: type[Node] = Node,
    ) -> None:
        self.suite = suite
        self.pki = pki_for(suite)
        self.time = time or WorldTime(self.pki.now)
        self.authority = LocalAuthority(self.pki, self.time)
        self.defects: list[Exception] = []  # what an arrival raised that is no answer of the protocol
        self.entries: dict[str, Entry] = {}
        self._versions: list[tuple[bytes, bytes, dict[str, bytes]]] = []
        self._nodes = {key: nodes(self, key, self.organisation(key), folder / key) for key in keys}
        self.by_gateway = {node.gateway: node for node in self._nodes.values()}
        self._first_entries()
        self.publish()

    def __getitem__(self, key: str) -> Node:
        return self._nodes[key]

    def organisation(self, key: str) -> Organisation:
        """Who stands behind a key."""
        return getattr(self.pki, key)  # type: ignore[no-any-return]

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(self._nodes.values())

    async def __aenter__(self) -> Self:
        for node in self.nodes:
            await node.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        for node in self.nodes:
            if node.alive:
                with suppress(BaseExceptionGroup) if error else nullcontext():  # the test's own failure is the one to show
                    await node.stop()
        if error is None:
            assert not self.defects, self.defects
            for node in self.nodes:
                node.examine()

    # ---- the directory

    def _first_entries(self) -> None:
        for node in self.nodes:
            organisation, gateway = self._entries_of(node)
            self.entries |= {organisation.entry_id: organisation, gateway.entry_id: gateway}
        authority = AuthorityEntry(id="tsa", kind="time", certificates=(certificate_text(self.pki.tsa.certificate),))
        self.entries[authority.entry_id] = authority

    def _entries_of(self, node: Node) -> tuple[OrganisationEntry, GatewayEntry]:
        return (
            OrganisationEntry(
                code=node.code,
                names=Names(zh=node.organisation.name, en=""),
                zone="extranet",
                highest_level="work-secret",
                suites=(self.suite.id,),
                signing=(certificate_text(node.signing.certificate),),
                encryption=(certificate_text(node.encryption.certificate),),
            ),
            GatewayEntry(
                id=node.gateway,
                organisations=(node.code,),
                links=(GatewayLink(kind="https", url="https://127.0.0.1:1"),),
                tls=(node.organisation.tls.certificate.fingerprint,),
                log_keys=(),
            ),
        )

    def publish(self, edit: Editing = lambda entries: None, *, life: timedelta = timedelta(days=365)) -> None:
        """A new version of the directory; nobody has it before ``Node.adopt``."""
        from crypto.digests import digest

        edit(self.entries)
        version = len(self._versions) + 1
        prev = digest(self.suite.digest, self._versions[-1][0]) if self._versions else None
        now = self.time.now()
        bundle = Listing(entries=dict(self.entries)).publish(
            version=version, prev=prev, issued=now, expires=now + life, signer=self.pki.directory.signer
        )
        self._versions.append((bundle.head, bundle.signature, dict(bundle.entries)))

    def edit_organisation(self, code: str, **changes: Any) -> None:
        """A new version in which this organisation's entry says something else."""
        import msgspec

        def edit(entries: dict[str, Entry]) -> None:
            entries[f"organisation/{code}"] = msgspec.structs.replace(entries[f"organisation/{code}"], **changes)

        self.publish(edit)

    def open_directory(self, trust: Trust, now: datetime) -> tuple[Directory, DirectoryPapers]:
        head, signature, entries = self._versions[-1]
        authority = self.pki.directory.certificate
        try:
            directory = Directory.open(head, signature, entries, chains=ChainCache(trust), authority=authority, now=now)
        except (DirectoryExpired, CrlStale):  # as after a long stop: it forbids what it forbids, and the gateway starts
            directory = Directory.reopen(head, signature, entries, authority=authority)
        return directory, DirectoryPapers(head=head, signature=signature, entries=entries)

    # ---- time

    async def pass_(self, span: timedelta, *, revoked: Sequence[tuple[Certificate, datetime, str | None]] = ()) -> None:
        """Time goes by: revocation lists are renewed and every clock is confirmed again, as they would have been."""
        self.time.pass_(span)
        trust = self.pki.trust_after(revoked, now=self.time.now())
        for node in self.nodes:
            node.trust = replace(trust, intermediates=node.trust.intermediates)
            if node.alive:
                node.believe(node.trust)
                await node.stamp()

    # ---- running

    async def settle(self) -> None:
        """Let everybody work until nothing happens any more. What failed and waits for a later moment goes on waiting."""
        deadline = time.monotonic() + QUIET_SECONDS
        while True:
            await self._quiet(deadline)
            moved = 0
            for node in self.nodes:
                if node.alive:
                    moved += node.hurry("report")
                    moved += await node.journey.outbound.walk(node.group)
                    moved += await node.journey.handover.take_acts()
            if not moved and not any(node.busy for node in self.nodes):
                for node in self.nodes:
                    if node.alive:
                        await node.rooms.finish_now()
                return
            assert time.monotonic() < deadline, "the world does not come to rest"

    async def retry(self) -> None:
        """What waits for a later moment is tried now, then everything settles."""
        for node in self.nodes:
            if node.alive:
                node.hurry()
        await self.settle()

    async def _quiet(self, deadline: float) -> None:
        while any(node.busy for node in self.nodes):
            assert time.monotonic() < deadline, {node.key: [task.get_name() for task in node.group._tasks] for node in self.nodes}
            await asyncio.sleep(0.002)

    async def send(self, source: str = "notice", *, sender: str = "office", to: Sequence[str] = ("finance",), **fields: Any) -> str:
        """Approve a document and let it go as far as it goes; its exchange id."""
        self[sender].approve(source, f"关于{source}的通知", *(self[key].code for key in to), **fields)
        await self.settle()
        return self[sender].exchange_of(source)


def receipted(answer: Answer | ProblemError) -> tuple[SignedReceipt, ...]:
    """The receipts of a 200."""
    assert isinstance(answer, Receipted), answer
    return answer.receipts


__all__ = ["INTL_1", "Fault", "Line", "LocalAuthority", "Node", "World", "WorldClock", "flipped", "policy_of", "receipted"]
