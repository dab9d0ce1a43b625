"""The composition root: reads the home, builds every room, owns the TaskGroup and the way down.

The only place that knows all rooms, the real clock and the operating system's signals. Order of starting: lock, keys, policy,
directory, journal, then sockets, then work. Order of stopping: no new work, let what runs end, last leaf, sockets, journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from adapters.folder import FolderOffice
from crypto.certificates import ChainCache
from crypto.sm2 import engine as sm2_engine
from gateway.config import split_address
from gateway.core.directory import Directory, DirectoryError
from gateway.core.errors import BadConfiguration, JournalStopped, NoRoom
from gateway.flow.agenda import BULK_WIDTH, Agenda
from gateway.flow.clockguard import ClockGuard
from gateway.flow.failing import Failing
from gateway.flow.hot import Hot
from gateway.flow.journey import Journey, rest
from gateway.flow.ports import OfficeSystem
from gateway.flow.pressure import OpenLimits
from gateway.flow.private import ALIAS, source_digest
from gateway.flow.queue import Operator, Outcome, Request
from gateway.flow.rooms import Rooms
from gateway.flow.stage import Stage
from gateway.flow.standing import AbsentSigner, Standing
from gateway.home import Home, log_name
from gateway.net.calling import CallLimits
from gateway.net.control import ControlServer
from gateway.net.directory_client import DirectoryClient
from gateway.net.limits import DoorLimits, Rate, peer_rates
from gateway.net.listener import ListenLimits
from gateway.net.metrics import Metrics
from gateway.net.ops import OpsServer
from gateway.net.peer_client import PeerClient
from gateway.net.peer_server import PeerServer
from gateway.net.time_client import TimeClient
from gateway.readings import Absences, NotReadyReasons, Readings
from gateway.renewal import Renewal, older_directories, open_directory
from gateway.store.blobs import FolderBlobs
from gateway.store.files import Headroom
from gateway.store.journal import Journal
from gateway.store.ledger import Ledger
from gateway.store.lock import HomeLock
from gateway.store.scratch import SealedScratch
from gateway.store.uploads import FolderUploads

log = logging.getLogger("yizhan")

MIB = 1024 * 1024
GRACE_SECONDS = 10.0  # what runs when the signal comes may end within it; work left over is due at the next start
ROOM_RETRY = 5  # seconds between looks at a disk that had no room to start
OFFERS_IN_FLIGHT = 64  # offers of the office begun at once: the journal commits them together
UPLOADS_BESIDE = 1 + sum(BULK_WIDTH["deliver"])  # connections to a peer for uploads and receipts, beside those of small documents
HOT_CEILING = 16 * MIB  # for each direction; beyond it the next step reads what it needs from disk
HOT_RECEIPTS = 4 * MIB  # receipts to be brought to their senders: about a thousand
GC_THRESHOLDS = (20_000, 50, 100)  # measured: the default spends a tenth of the time looking for cycles that are not there


class SystemClock:
    """The operating system's clock, in UTC."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


def serve(home: Home) -> int:
    """Run the gateway of this home until SIGTERM or SIGINT; the exit code. Raises BadConfiguration, KeyUnusable, HomeInUse, JournalStopped."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    gc.set_threshold(*GC_THRESHOLDS)
    return asyncio.run(Gateway(home).run())


class Gateway:
    """One gateway process. ``office`` replaces the configured office system and ``metrics`` the counters (the benchmark's, a test's)."""

    def __init__(self, home: Home, *, office: OfficeSystem | None = None, metrics: Metrics | None = None) -> None:
        self._home = home
        self._config = home.config
        self._clock = SystemClock()
        self._office = office
        self._metrics = metrics or Metrics()
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Begin the way down."""
        self._stop.set()

    async def run(self) -> int:
        """Build, serve, and take down; 0 after an orderly stop, 1 when the journal had to stop."""
        self._home.check_secrets()
        with HomeLock(self._home.data / "lock"):
            return await self._run_locked()

    async def _run_locked(self) -> int:
        async with contextlib.AsyncExitStack() as down:
            rooms = await self._build(down)
            journey = Journey(rooms, poll_seconds=self._config.office.poll_seconds, in_flight=OFFERS_IN_FLIGHT)
            source = DirectoryClient(self._config.directory.url)
            down.push_async_callback(source.close)
            renewal = Renewal(self._home, rooms, journey, source)
            await self._open_doors(down, rooms, journey, renewal)
            self._hear_signals(down)
            await renewal.catch_up()  # a gateway enrolled since may write at once
            async with asyncio.TaskGroup() as group:
                await self._begin(rooms, journey, group)
                loops = [
                    group.create_task(journey.run(group, self._stop), name="journey"),
                    group.create_task(renewal.watch_directory(self._stop), name="directory"),
                    group.create_task(renewal.watch_crls(self._stop), name="revocation lists"),
                ]
                stopped_well = await self._until_stopped(rooms)
                rooms.standing.accepts_work = False
                rooms.agenda.stop()
                await asyncio.wait(loops, timeout=GRACE_SECONDS)
                await self._drain(journey)
            await rooms.finish_now()
            rooms.let_go()
            if stopped_well:
                await journey.stopped()
            return 0 if stopped_well else 1

    async def _begin(self, rooms: Rooms, journey: Journey, group: asyncio.TaskGroup) -> None:
        """Start. A disk without room is waited for, as it is in the middle of a day; one that failed ends the process, as it does then."""
        while not self._stop.is_set():
            try:
                await journey.start(group)
            except NoRoom as error:
                log.warning("not started yet, and looked at again in %d s: %s", ROOM_RETRY, error)
                await rest(self._stop, ROOM_RETRY)
            except JournalStopped as error:
                log.critical("not started: %s", error)
                rooms.journal_stopped.set()
                return
            else:
                return

    async def _until_stopped(self, rooms: Rooms) -> bool:
        """Wait for the signal or for the journal to fail; whether it was the signal."""
        failed = asyncio.create_task(rooms.journal_stopped.wait())
        told = asyncio.create_task(self._stop.wait())
        await asyncio.wait({failed, told}, return_when=asyncio.FIRST_COMPLETED)
        told_to = told.done()
        if not told_to:
            log.critical("the journal stopped, or the disk failed; this process ends so that a restart can recover")
            self._stop.set()
        failed.cancel()
        told.cancel()
        return told_to

    async def _drain(self, journey: Journey) -> None:
        """Let what runs end within the grace period."""
        running = journey.running()
        if running:
            _, late = await asyncio.wait(running, timeout=GRACE_SECONDS)
            for task in late:
                log.warning("%s did not end in time; its work is due at the next start", task.get_name())
                task.cancel()

    async def act(self, request: Request, operator: Operator) -> Outcome:
        """One operator's act on a home nobody serves: under its lock, by the parts that would serve it. Raises HomeInUse, BadInput."""
        self._home.check_secrets()
        with HomeLock(self._home.data / "lock"):
            async with contextlib.AsyncExitStack() as down:
                rooms = await self._build(down)
                journey = Journey(rooms, poll_seconds=self._config.office.poll_seconds, in_flight=OFFERS_IN_FLIGHT)
                await journey.watching.attempt(
                    "time authority", journey.watching.stamp_checkpoint
                )  # nothing is dated by a clock of one's own
                return await journey.queue.act(request, operator)

    # ---- building

    async def _build(self, down: contextlib.AsyncExitStack) -> Rooms:
        home, config = self._home, self._config
        standing = self._standing()
        metrics = self._metrics
        headroom = Headroom(home.data, config.storage.head_room_mib * MIB)
        failed = asyncio.Event()
        blobs = FolderBlobs(home.data / "blobs", headroom, _from_any_thread(failed))
        uploads = FolderUploads(home.data / "uploads", blobs, max_open_a_peer=config.limits.uploads_per_peer)
        down.callback(uploads.close)
        journal = Journal.open(
            home.database, log_key=home.log_key(), origin=_origin(home, self._clock.now()), mark=home.mark, on_commit=metrics.journal_batch
        )
        down.callback(journal.close)
        ledger = Ledger(home.database)
        down.callback(ledger.close)
        failing = Failing(self._clock)
        tokens = {suite: TimeClient(urls) for suite, urls in config.time.authorities.items() if suite in standing.signers}
        if not tokens:
            raise BadConfiguration(
                "gateway.toml: time.authorities: none for any suite we have keys of", file="gateway.toml", key="time.authorities"
            )
        link = PeerClient(
            home.tls(),
            lambda gateway: _address(standing.directory, gateway),
            lambda gateway: standing.directory.tls_fingerprints(gateway),  # noqa: PLW0108  # the directory in force then, not now
            limits=CallLimits(connections=config.limits.in_flight_per_peer + UPLOADS_BESIDE),
        )
        down.push_async_callback(link.close)
        for client in tokens.values():
            down.push_async_callback(client.close)
        stages = Stage("out"), Stage("in")
        for stage in stages:
            down.callback(stage.close)
        return Rooms(
            standing=standing,
            clock=self._clock,
            guard=ClockGuard(),
            journal=journal,
            ledger=ledger,
            blobs=blobs,
            uploads=uploads,
            scratch=SealedScratch(home.data / "scratch", config.storage.scratch_ceiling_mib * MIB, headroom),
            office=self._office or FolderOffice(home.office, alias=lambda source: source_digest(standing, "folder", source)[:ALIAS]),
            link=link,
            tokens=tokens,
            gauges=metrics,
            agenda=Agenda(self._clock.now, failing.failed, width={"deliver": config.limits.in_flight_per_peer}),
            stage_out=stages[0],
            stage_in=stages[1],
            hot_out=Hot(HOT_CEILING),
            hot_in=Hot(HOT_CEILING),
            hot_receipts=Hot(HOT_RECEIPTS),
            failing=failing,
            journal_stopped=failed,
            open_limits=OpenLimits(
                documents_per_peer=config.limits.open_documents_per_peer,
                documents=config.limits.open_documents,
                bytes_per_peer=config.limits.open_gib_per_peer * 1024 * MIB,
            ),
        )

    def _standing(self) -> Standing:
        home, now = self._home, self._clock.now()
        policy, policy_bytes = home.policy()
        chains = ChainCache(home.trust())
        bundle = home.directory()
        if bundle is None:
            raise BadConfiguration(f"{home.path / 'directory'}: no directory yet; enrol this gateway first", file="directory", key="")
        for kept in home.revocation_lists():
            if kept.crl is None:
                log.warning("revocation list %s counts as missing: %s", kept.file.name, kept.problem)
        directory, papers = open_directory(home, bundle, chains, now)
        signers = home.signers_or_absent()
        for suite, signer in signers.items():
            if isinstance(signer, AbsentSigner):
                log.warning("the signing key of suite %s is away: nothing is taken or accepted that needs it", suite)
        if "gm-1" in signers and sm2_engine().name == "gmssl":
            log.warning("no libcrypto with SM2 was found: SM2 runs on the slow fallback engine")
        standing = Standing(
            organisation=self._config.gateway.organisation,
            gateway=self._config.gateway.id,
            name=self._config.gateway.name,
            signers=signers,
            unwrappers=home.unwrappers(),
            storage_key=home.storage_key(),
            policy=policy,
            policy_bytes=policy_bytes,
            directory=directory,
            papers=papers,
            chains=chains,
            accepts_work=False,
        )
        for older in older_directories(home, now):
            standing.know(older)
        return standing

    async def _open_doors(self, down: contextlib.AsyncExitStack, rooms: Rooms, journey: Journey, renewal: Renewal) -> None:
        ours = self._config.limits
        door = DoorLimits(of_address=Rate(per_second=ours.handshakes_per_second, burst=64))
        limits = ListenLimits(in_flight_per_peer=ours.requests_per_peer, door=door)
        rates = peer_rates(
            requests=ours.requests_per_second,
            exchanges=ours.exchanges_per_second,
            mib=ours.incoming_mib,
            failures_a_minute=ours.failures_per_minute,
        )
        journey.inbound.on_unknown_directory = renewal.ask
        peers = PeerServer(
            self._home.tls(),
            journey.inbound,
            lambda gateway: rooms.standing.directory.tls_fingerprints(gateway),  # noqa: PLW0108  # as above
            limits=limits,
            rates=rates,
            gauges=self._metrics,
            proofs=journey.inbound.proof,
        )
        readings = Readings(self._home, rooms)
        self._metrics.collect = readings.collect
        ops = OpsServer(NotReadyReasons(rooms), self._metrics, absences=Absences(rooms))
        control = ControlServer(self._home.data, journey.queue.act)
        await control.start()
        down.push_async_callback(control.stop)
        for server, address in ((ops, self._config.listen.ops), (peers, self._config.listen.peer)):
            try:
                await server.start(*split_address(address))
            except OSError as error:
                raise BadConfiguration(f"cannot listen on {address}: {error}", file="gateway.toml", key="listen") from error
        down.push_async_callback(ops.stop)
        down.push_async_callback(peers.stop, GRACE_SECONDS)

    def _hear_signals(self, down: contextlib.AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
            down.callback(loop.remove_signal_handler, number)


def _origin(home: Home, now: datetime) -> str:
    """The log's origin ``<gateway>/<node>/<year>.<epoch>``; it stays the one the database began with."""
    kept = home.data / "origin"
    if kept.exists():
        return kept.read_text().strip()
    origin = f"{log_name(home.config)}/{now.year}.1"
    _write(kept, origin)
    return origin


def _write(path: Path, text: str) -> None:
    from gateway.files import write_atomic

    write_atomic(path, text.encode())


def _from_any_thread(failed: asyncio.Event) -> Callable[[JournalStopped], None]:
    """How a worker thread says that the disk failed and the process must end."""
    loop = asyncio.get_running_loop()

    def tell(error: JournalStopped) -> None:
        log.critical("the disk failed: %s", error)
        loop.call_soon_threadsafe(failed.set)

    return tell


def _address(directory: Directory, gateway: str) -> str | None:
    try:
        links = directory.gateway(gateway).links
    except DirectoryError:
        return None
    return links[0].url if links else None
