"""The simulated world: real gateways, journals and offices on wires, clocks and people that one seed decides.

What is simulated: time (``sim_loop``), the wire between gateways, the time authority, each gateway's clock, and the people of the
offices. What is real: the whole flow, the journal and everything else on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import logging
import random
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Self

from crypto.ca import Profile, Subject
from crypto.certificates import Trust
from crypto.errors import YizhanError
from crypto.suites import INTL_1
from gateway.core.cover import Cover
from gateway.core.errors import PeerProblem, Unreachable
from gateway.core.explain import Reason
from gateway.flow.ports import Act, Answer, Delivery, Parcel, ReceiptAnswer, Receipted, SignedReceipt, Status
from tests.crypto.pki import Organisation, Pki, organisation_code, pki_for
from tests.faults.sim_loop import LIFE, Life
from tests.faults.sim_oracle import Oracle
from tests.flow.wire import Fault, Line, LocalAuthority, WorldTime, flipped
from tests.flow.world import Node, Office, World

KEYS = ("office", "finance", "health", "archive", "police")
LISTS_EVERY = timedelta(hours=12)  # how often revocation lists are renewed
TIMEOUT = 20.0  # virtual seconds until a call that nobody answers is given up

# The watches turn at the pace of simulated hours: the same loops, fewer turns of them (tokens are good for an hour).
STAMP_EVERY = 2400.0
WATCH_EVERY = 300.0  # any other watch, where it would turn more often
POLL, IDLE_POLL = 45.0, 1800.0  # of an office: where something waits, and where nothing does


async def rest(stop: asyncio.Event, seconds: float) -> None:
    """``gateway.flow.journey.rest`` for thousands of hours: no task a turn, and an empty office is looked at when something happens there."""
    node = SimNode.of_life[LIFE.get()]
    if stop.is_set():
        return
    walks = seconds == POLL
    if walks and not node.office.busy:
        seconds = IDLE_POLL
    elif not walks and seconds > 0.5:  # less is a tray that has more
        seconds = max(seconds, WATCH_EVERY)
    sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    timer = asyncio.get_running_loop().call_later(seconds, _wake, sleeper)
    node.sleepers[sleeper] = walks
    try:
        await sleeper
    finally:
        timer.cancel()
        del node.sleepers[sleeper]


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)


class SimTime(WorldTime):
    """The loop's time is everybody's."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


class SimAuthority(LocalAuthority):
    """A time authority that needs a moment to answer."""

    async def respond(self, request: bytes) -> bytes:
        await LIFE.get().breathe()
        response = await super().respond(request)
        await LIFE.get().breathe()
        return response


# ---- the office ------------------------------------------------------------------------------------------------------------------


class SimOffice(Office):
    """An office that takes a moment, outlives its gateway, and whose people act on what came."""

    def __init__(self) -> None:
        super().__init__()
        self.node: SimNode

    @property
    def busy(self) -> bool:
        """Whether anybody put something down for the gateway."""
        return bool(self.tray or self._acts)

    def approve(self, *values: Any) -> None:
        super().approve(*values)
        self.node.nudge()

    def _answer(self, act: Act) -> None:
        super()._answer(act)
        self.node.nudge()

    async def _around(self, act: Callable[[], Awaitable[None]]) -> None:
        await LIFE.get().breathe()
        await act()
        await LIFE.get().breathe()

    async def settle(self, source: str, exchange: str) -> None:
        await self._around(functools.partial(super().settle, source, exchange))

    async def refuse(self, source: str, reasons: Sequence[Reason]) -> None:
        await self._around(functools.partial(super().refuse, source, reasons))

    async def acknowledge(self, act: Act, reasons: Sequence[Reason] = ()) -> None:
        await self._around(functools.partial(super().acknowledge, act, reasons))

    async def report(self, status: Status) -> None:
        async def show() -> None:
            await Office.report(self, status)
            self.node.world.oracle.shown(self.node, status)

        await self._around(show)

    async def deliver(self, delivery: Delivery) -> None:
        async def put() -> None:
            new = delivery.exchange not in self.inbox
            await Office.deliver(self, delivery)
            if new:
                self.node.world.delivered(self.node, delivery.exchange)

        await self._around(put)


# ---- the wire --------------------------------------------------------------------------------------------------------------------


class SimLine(Line):
    """The way of one gateway to the others: what becomes of each request is drawn as it is made."""

    def __init__(self, world: SimWorld, me: SimNode) -> None:
        super().__init__(world, me.gateway)
        self._sim = world
        self._node = me

    async def send(self, gateway: str, parcel: Parcel) -> Answer:
        chance, odds = self._sim.chance, self._sim.odds
        fault: Fault | None = None
        if chance.random() < odds["damage"]:
            fault = self._damage(parcel)
        elif parcel.inline is None and chance.random() < odds["cut"]:
            fault = Fault(kind="cut", after=int(chance.random() * parcel.size))
        if chance.random() < odds["twice"]:
            self._again_later(gateway, parcel)
        answer = await self._call(gateway, lambda target: self._offer(target, gateway, parcel, fault))
        assert not isinstance(answer, tuple)
        if isinstance(answer, Receipted):
            self._sim.oracle.answered(parcel.exchange, gateway, answer)
            if chance.random() < odds["damage"]:
                return self._damaged(answer)
        return answer

    async def send_receipts(self, gateway: str, receipts: Sequence[SignedReceipt]) -> tuple[ReceiptAnswer, ...]:
        chance, odds = self._sim.chance, self._sim.odds
        if chance.random() < odds["twice"]:
            self._sim.later(chance.expovariate(1 / 600), self._stray, gateway, lambda target: self._bring(target, gateway, receipts))
        return await self._call(gateway, lambda target: self._bring(target, gateway, receipts))  # type: ignore[no-any-return]

    async def _call(self, gateway: str, act: Callable[[SimNode], Coroutine[Any, Any, Any]]) -> Any:
        """One request and its answer, each of which may be lost; the other side works on it whether or not we still live."""
        sim, life = self._sim, LIFE.get()
        target = sim.by_gateway[gateway]
        assert isinstance(target, SimNode)
        await life.breathe()
        await asyncio.sleep(sim.delay())
        if self._lost(target) or not target.alive or target.serving is None:
            await asyncio.sleep(sim.chance.uniform(0.05, TIMEOUT))
            raise Unreachable(f"{gateway} does not answer", place=gateway)
        handler = target.receive(act(target))
        done, _ = await asyncio.wait({handler}, timeout=6 * TIMEOUT)
        await asyncio.sleep(sim.delay())
        if not done or handler.cancelled() or self._lost(target):
            raise Unreachable("the answer was lost", place=gateway)
        await life.breathe()
        return handler.result()

    def _lost(self, target: SimNode) -> bool:
        return self._sim.parted(self._node, target) or self._sim.chance.random() < self._sim.odds["lost"]

    async def _offer(self, target: SimNode, gateway: str, parcel: Parcel, fault: Fault | None) -> Answer:
        cover, content = parcel.cover, parcel.inline
        if fault is not None and fault.kind == "edit":
            cover, content = fault.edit(cover, content)
        return await self._deliver(target.journey.inbound, gateway, parcel, cover, content, fault)

    async def _bring(self, target: SimNode, gateway: str, receipts: Sequence[SignedReceipt]) -> tuple[ReceiptAnswer, ...]:
        with self._answering(gateway):
            return await target.journey.inbound.receipts(self._me, receipts)

    async def _pieces(self, chunks: Iterator[bytes], offset: int, fault: Fault | None) -> AsyncIterator[bytes]:
        life = self._node.life
        async for piece in super()._pieces(chunks, offset, fault):
            await asyncio.sleep(self._sim.delay())
            if life.dead:
                raise ConnectionResetError("the sender died")
            yield piece

    def _again_later(self, gateway: str, parcel: Parcel) -> None:
        """A copy of this request arrives some time after it: reordered, or long after everything is over."""
        sim = self._sim
        if parcel.inline is not None:
            sim.later(sim.chance.expovariate(1 / 900), self._stray, gateway, lambda target: self._offer(target, gateway, parcel, None))

    def _stray(self, gateway: str, act: Callable[[SimNode], Coroutine[Any, Any, Any]]) -> None:
        target = self._sim.by_gateway[gateway]
        assert isinstance(target, SimNode)
        if target.alive and target.serving is not None:
            target.receive(act(target))

    def _damage(self, parcel: Parcel) -> Fault:
        """One bit of what is sent arrives turned round."""
        chance = self._sim.chance
        where, bit = chance.choice(["content", "transmittal", "nro", "envelope"]), chance.randrange(8)
        part = chance.random()
        if where == "content" and parcel.inline is None:
            return Fault(kind="flip", after=int(part * parcel.size))

        def edit(cover: bytes, content: bytes | None) -> tuple[bytes, bytes | None]:
            if where == "content":
                assert content is not None
                return cover, flipped(content, int(part * len(content)) * 8 + bit)
            read = Cover.from_bytes(cover)
            if where == "transmittal":
                return replace(read, transmittal=flipped(read.transmittal, int(part * len(read.transmittal)) * 8 + bit)).to_bytes(), content
            if where == "nro":
                return replace(read, nro=flipped(read.nro, 160 + bit)).to_bytes(), content
            (org, envelope), *others = read.envelopes
            return replace(read, envelopes=((org, flipped(envelope, 240 + bit)), *others)).to_bytes(), content

        return Fault(kind="edit", edit=edit)

    def _damaged(self, answer: Receipted) -> Receipted:
        first, *others = answer.receipts
        body = flipped(first.body, int(self._sim.chance.random() * len(first.body)) * 8)
        return Receipted(receipts=(SignedReceipt(body=body, signature=first.signature), *others))


# ---- one gateway -----------------------------------------------------------------------------------------------------------------


class SimNode(Node):
    """A gateway that runs all its loops, can be killed at any await, and comes back."""

    poll_seconds = POLL
    world: SimWorld
    of_life: ClassVar[weakref.WeakKeyDictionary[Life, SimNode]] = weakref.WeakKeyDictionary()

    def __init__(self, world: SimWorld, key: str, organisation: Organisation, home: Path) -> None:
        super().__init__(world, key, organisation, home)
        self.life = Life(key, world.pause, lambda: None)
        self.serving: contextvars.Context | None = None  # of this life, while requests are answered
        self.office: SimOffice = SimOffice()
        self.office.node = self
        self.line = SimLine(world, self)
        self.kills = 0
        self.jitter = world.chance.random
        self.sleepers: dict[asyncio.Future[None], bool] = {}  # loops that rest, and whether an office's doings wake them
        self.stepped_at = float("-inf")  # when its clock was last set

    async def start(self) -> None:
        """A new process on the same home. Returns when it serves or was killed before."""
        assert self._running is None
        self._stop = asyncio.Event()
        self.lives += 1
        self.life = life = Life(f"{self.key}/{self.lives}", self.world.pause, self.kill)
        self.of_life[life] = self
        context = contextvars.copy_context()
        context.run(LIFE.set, life)
        begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running = asyncio.get_running_loop().create_task(self._live(begun), name=f"node {self.key}", context=context)
        await asyncio.wait({begun, self._running}, return_when=asyncio.FIRST_COMPLETED)
        if begun.done():
            self.serving = context
            return
        try:
            await self._end()
        except YizhanError as error:  # as with a wrong clock, to which its directory is not in force: whoever supervises it tries again
            self.world.note(self, f"does not start: {error}")
            self.world.revive(self)

    def receive(self, request: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A request is answered here, whatever becomes of whoever sent it."""
        assert self.serving is not None
        handler = asyncio.get_running_loop().create_task(request, name=f"request at {self.key}", context=self.serving)
        handler.add_done_callback(self._answered)
        return handler

    def _answered(self, handler: asyncio.Task[Any]) -> None:
        if not handler.cancelled() and (error := handler.exception()) is not None and not isinstance(error, (PeerProblem, Unreachable)):
            self.world.oracle.defect(f"a request at {self.key}", error)

    async def _until_stopped(self) -> None:
        """As in ``gateway.app``: the loops run, then an orderly way down."""
        loops = self.group.create_task(self.journey.run(self.group, self._stop), name="journey")
        self.journey.inbound.on_unknown_directory = self._learn
        await self._stop.wait()
        self.rooms.standing.accepts_work = False
        self.rooms.agenda.stop()
        await asyncio.wait({loops})
        while running := self.journey.running():
            await asyncio.wait(running)
        await self.rooms.finish_now()
        await self.journey.stopped()

    def _learn(self) -> None:
        self.world.later(self.world.delay(), self._adopt_newest)

    def _adopt_newest(self) -> None:
        if self.serving is not None and self.rooms.standing.directory.version < self.world.version:
            self.group.create_task(self._adopt(), context=self.serving)

    async def _adopt(self) -> None:
        try:
            await self.adopt()
        except YizhanError:  # a wrong clock believes no directory: the renewal tries again
            self.world.later(600.0, self._adopt_newest)

    def kill(self) -> None:
        """The process is gone, now: nothing it began is served any more."""
        if self.life.dead or self._running is None:
            return
        self.kills += 1
        self.world.note(self, "killed")
        self._cut()
        self.world.revive(self)

    def _cut(self) -> None:
        if hasattr(self, "rooms"):
            self.rooms.agenda.stop()  # its timers go with the process
        self.serving = None
        self.life.dead = True
        for task in tuple(self.life.tasks):
            task.cancel()

    async def _end(self) -> None:
        assert self._running is not None
        running = self._running
        await asyncio.wait({running})
        for task in tuple(self.life.tasks):  # what caught its cancellation and went on
            task.cancel()
        for _ in range(3):
            await asyncio.sleep(0)
        self._running = None
        self.serving = None
        if not running.cancelled() and (error := running.exception()) is not None and not self.life.dead:
            raise error
        if self.life.tasks:
            self.world.oracle.failures.append(f"{self.key} leaves tasks behind: {[task.get_name() for task in self.life.tasks]}")

    async def stop(self) -> None:
        self._stop.set()
        self.nudge(everybody=True)
        await self._end()

    def nudge(self, *, everybody: bool = False) -> None:
        """Something happened in the office."""
        for sleeper, walks in tuple(self.sleepers.items()):
            if walks or everybody:
                _wake(sleeper)

    def step_clock(self, skew: timedelta) -> None:
        """Its clock is set wrong, or right again."""
        self.clock.skew = skew
        self.stepped_at = asyncio.get_running_loop().time()
        self.world.note(self, f"clock off by {skew}")


# ---- the world -------------------------------------------------------------------------------------------------------------------


class SimWorld(World):
    """2 to 5 agencies; ``chance`` decides everything."""

    def __init__(self, folder: Path, seed: int, keys: Sequence[str]) -> None:
        self.chance = random.Random(seed)
        self.oracle = Oracle(self)
        self.odds = dict.fromkeys(("lost", "damage", "cut", "twice", "slow"), 0.0)
        self.parts: set[frozenset[str]] = set()  # pairs that cannot reach each other
        self.notes: list[str] = []
        self.calm = False  # faults are over
        self._extra: set[asyncio.Task[Any]] = set()
        super().__init__(folder, keys=keys, time=SimTime(pki_for(INTL_1).now), nodes=SimNode)
        self.authority = SimAuthority(self.pki, self.time)

    def organisation(self, key: str) -> Organisation:
        return more_organisations(key) if key in KEYS[3:] else super().organisation(key)

    @property
    def by_code(self) -> dict[str, Node]:
        """Nodes by their organisation."""
        return {node.code: node for node in self.nodes}

    @property
    def version(self) -> int:
        """Of the newest directory."""
        return len(self._versions)

    async def __aenter__(self) -> Self:
        self._context = [self.node_log()]
        for context in self._context:
            context.__enter__()
        for node in self.nodes:
            await node.start()
        self._spawn(self._renew_lists())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        for task in self._extra:
            task.cancel()
        for node in self.nodes:
            if node._running is not None:
                if error is None:
                    await node.stop()
                else:
                    node._cut()
                    with contextlib.suppress(BaseException):
                        await node._end()
        for context in self._context:
            context.__exit__(None, None, None)

    @contextlib.contextmanager
    def node_log(self) -> Iterator[None]:
        """Errors that are no refusals of ours are defects, wherever they were swallowed."""
        watch = _Watch(self.oracle)
        log = logging.getLogger("yizhan")
        before = log.level, log.propagate
        log.addHandler(watch)
        log.setLevel(logging.ERROR)
        log.propagate = False
        try:
            yield
        finally:
            log.removeHandler(watch)
            log.setLevel(before[0])  # not by the attribute: loggers below remember what they are enabled for
            log.propagate = before[1]

    # ---- chance

    def pause(self) -> float:
        """How long a blocking act takes: almost nothing, now and then long."""
        draw = self.chance.random()
        return draw * 0.004 if draw > self.odds["slow"] else self.chance.expovariate(1 / 2.0)

    def delay(self) -> float:
        """How long a message is under way."""
        return self.chance.expovariate(1 / 0.05)

    def parted(self, one: SimNode, other: SimNode) -> bool:
        return frozenset({one.key, other.key}) in self.parts

    def note(self, node: SimNode | None, what: str) -> None:
        """A line of this run's story."""
        self.notes.append(f"{asyncio.get_running_loop().time():12.3f} {node.key if node else '-':8} {what}")

    def later(self, seconds: float, act: Callable[..., object], *values: Any) -> None:
        """Nobody's act: it belongs to no gateway and outlives them."""
        asyncio.get_running_loop().call_later(seconds, act, *values, context=contextvars.Context())

    def _spawn(self, coro: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(coro, context=contextvars.Context())
        self._extra.add(task)
        task.add_done_callback(self._spawned)

    def _spawned(self, task: asyncio.Task[Any]) -> None:
        self._extra.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.oracle.defect("the simulation itself", error)

    # ---- what happens by itself

    async def _renew_lists(self) -> None:
        while True:
            self.renew()
            await asyncio.sleep(LISTS_EVERY.total_seconds())

    def renew(self) -> None:
        trust = trust_at(int(self.time.now().timestamp() // LISTS_EVERY.total_seconds()))
        for node in self.nodes:
            node.trust = trust
            if node.serving is not None:
                node.believe(trust)

    def revive(self, node: SimNode) -> None:
        self._spawn(self._revive(node))

    async def _revive(self, node: SimNode) -> None:
        if node._running is not None:
            await node._end()
        down = self.chance.choice([0.1, 5.0, 60.0, 1800.0]) * (1 + self.chance.random())
        await asyncio.sleep(min(down, 30.0) if self.calm else down)
        self.note(node, "starts again")
        await node.start()

    def delivered(self, node: SimNode, exchange: str) -> None:
        """A document reached an office: somebody there may do something about it, some time."""
        self.oracle.handed_over(node, exchange)
        self.note(node, f"holds {self.oracle.short(exchange)}")
        draw = self.chance.random()
        first = self.chance.expovariate(1 / 2400)
        if draw < 0.45 or draw > 0.95:
            self.later(first, node.office.sign_for, exchange)
        if 0.45 <= draw < 0.6 or draw > 0.95:  # above 0.95: two people, and only one of them can have it
            self.later(self.chance.expovariate(1 / 2400), node.office.send_back, exchange, "不属本单位职责")


class _Watch(logging.Handler):
    def __init__(self, oracle: Oracle) -> None:
        super().__init__(logging.ERROR)
        self._oracle = oracle

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, YizhanError):
            self._oracle.defect(record.getMessage(), error)


@functools.cache
def more_organisations(key: str) -> Organisation:
    """Agencies the PKI of the tests does not have."""
    pki = pki_for(INTL_1)
    number = KEYS.index(key)
    code, name, gateway = organisation_code(f"11310000MB{number:07d}"[:17]), f"市第{number}局", f"gw-{key}"
    subject = Subject(common_name=name, organisation_name=name, organisation_code=code)
    return Organisation(
        code=code,
        name=name,
        gateway=gateway,
        signing=pki.issue(Profile.SIGN, subject),
        encryption=pki.issue(Profile.ENCRYPT, subject),
        tls=pki.issue(Profile.TLS, subject, sans=(f"URI:urn:yizhan:gateway:{gateway}",)),
    )


@functools.cache
def trust_at(number: int) -> Trust:
    """Trust with lists made at the beginning of that half day, for every seed of this process."""
    pki: Pki = pki_for(INTL_1)
    return pki.trust_after(now=max(pki.now, datetime.fromtimestamp(number * LISTS_EVERY.total_seconds(), tz=pki.now.tzinfo)))
