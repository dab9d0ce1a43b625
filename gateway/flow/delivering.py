"""RELAY: one attempt to bring a sealed exchange to one next hop, and what its answer makes of the passages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from crypto.errors import RemoteError
from crypto.suites import suite_named
from gateway.core.cover import Cover
from gateway.core.errors import PeerProblem, Superseded, Unreachable
from gateway.core.exchange import State
from gateway.core.explain import Reason
from gateway.core.leaf import Actor, LeafKind
from gateway.core.policy import Clearance, ClearanceVoid, Hold, Question, Refusal, decide
from gateway.core.step import Advance, Finish, Schedule, Step, StoredContent, Work
from gateway.core.transmittal import Transmittal
from gateway.flow.alone import Alone
from gateway.flow.inbound import MAX_INLINE_ARRIVAL
from gateway.flow.leaves import Leaves, word
from gateway.flow.office import Desk
from gateway.flow.opening import party
from gateway.flow.ports import ExchangeRow, Parcel, Pending
from gateway.flow.private import open_private
from gateway.flow.queue_reasons import remember
from gateway.flow.rooms import Rooms
from gateway.flow.standing import Standing
from gateway.flow.taking import Taking
from gateway.flow.trouble import reason_of
from gateway.flow.witness import issue, kept

log = logging.getLogger("yizhan.delivering")

VERIFYING_REST = timedelta(seconds=5)  # the peer is looking at the content; asking again is cheap
HELD_REST = timedelta(minutes=10)  # a person over there decides
CUT_REST = timedelta(seconds=1)  # an upload that got further and broke goes on after this; its attempts are not counted
IN_FLIGHT = frozenset({State.SEALED, State.DISPATCHED, State.RELAYED})
OPEN = IN_FLIGHT | {State.STUCK, State.HELD}  # what only its ``expires`` ends when nobody else does


@dataclass(frozen=True, slots=True, kw_only=True)
class _Due:
    """A sealed exchange as it is sent; ``clearance`` is None when it was read back and policy has to be asked again."""

    transmittal: Transmittal
    body: bytes
    digest: str
    nro: bytes
    envelopes: dict[str, bytes]
    content: StoredContent
    clearance: Clearance | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Presumption:
    """What the sender concludes by itself about one recipient's copy; whatever the recipient states later replaces it."""

    to: State
    expect: frozenset[State]
    kind: LeafKind
    code: str  # of the receipt and the leaf
    reasons: tuple[Reason, ...] = ()  # for the office's eyes
    finish: str = ""  # key of the delivery that ends with it
    actor: Actor | None = None  # the person whose act it is; else the gateway itself


class Delivering:
    """Sends due deliveries and gives up those whose attempts are used up."""

    def __init__(self, rooms: Rooms, desk: Desk, taking: Taking) -> None:
        self._rooms = rooms
        self._desk = desk
        self._taking = taking
        self._leaves = Leaves(rooms.standing)
        self._reached: dict[str, int] = {}  # by key of work: how far its upload was when last heard of
        self._presuming = Alone()  # as in HandOver: our own receipts about a pair form one chain

    async def deliver(self, work: Work) -> None:
        """Work "deliver": one attempt."""
        rooms, begun = self._rooms, self._rooms.clock.monotonic()
        found = await self._find(work.exchange)
        if found is None:
            await rooms.record(Step(changes=(Finish(key=work.key),)))
            return
        transmittal = found.transmittal
        # who sits behind a gateway, and with which keys, is known from there alone
        rooms.standing.check_directory(rooms.clock.now(), transmittal.level)
        there = {org: envelope for org, envelope in found.envelopes.items() if rooms.standing.goes_through(org, work.peer)}
        if rooms.standing.directory.version != transmittal.directory.version:
            await self._follow(work, transmittal)
        if not there:
            await self._leave(work, transmittal)
            return
        if not await self._still_cleared(work, transmittal, found.clearance, tuple(there)):
            return
        try:
            answer = await rooms.link.send(work.peer, await self._parcel(found, there))
        except (Unreachable, PeerProblem) as error:
            if not self._got_further(work, error):
                raise
            log.info("%s: the upload broke and goes on: %s", work.key, error)
            await self._rest(work, CUT_REST)
            return
        rooms.agenda.is_back(work.peer)
        self._reached.pop(work.key, None)
        if isinstance(answer, Pending):
            await self._wait(work, answer)
            return
        try:
            await self._taking.take_answer(work.peer, transmittal, found.digest, tuple(there), answer.receipts, work.key)
        except RemoteError as error:
            raise PeerProblem(f"the answer of {work.peer} does not hold: {error}", problem="bad-answer", retryable=True) from error
        rooms.gauges.bytes_moved("out", work.peer, found.content.size)
        rooms.gauges.latency("deliver", rooms.clock.monotonic() - begun)

    # ---- what is sent

    async def _find(self, exchange: str) -> _Due | None:
        ready = self._rooms.hot_out.get(exchange)
        if ready is not None:
            sealed = ready.stamped.sealed
            return _Due(
                transmittal=sealed.transmittal,
                body=sealed.transmittal_bytes,
                digest=sealed.transmittal_digest,
                nro=ready.stamped.nro,
                envelopes=dict(sealed.envelopes),
                content=sealed.content,
                clearance=ready.clearance,
            )
        row = await self._rooms.ledger.exchange("out", exchange)
        if row is None or row.transmittal is None or not any(passage.state in IN_FLIGHT | {State.STUCK} for passage in row.passages):
            return None
        content = await self._rooms.ledger.content("out", exchange)
        assert row.nro is not None
        assert row.transmittal_digest is not None
        assert content is not None
        return _Due(
            transmittal=Transmittal.from_bytes(row.transmittal),
            body=row.transmittal,
            digest=row.transmittal_digest,
            nro=row.nro,
            envelopes=await self._rooms.ledger.envelopes("out", exchange),
            content=content,
            clearance=None,
        )

    async def _parcel(self, due: _Due, there: Mapping[str, bytes]) -> Parcel:
        content, blobs = due.content, self._rooms.blobs
        inline, blob = content.inline, content.blob
        if blob is not None and content.size <= MAX_INLINE_ARRIVAL:  # one request instead of the four an upload takes
            inline = await asyncio.to_thread(lambda: b"".join(blobs.read(blob)))

        def read(offset: int) -> Iterator[bytes]:
            if inline is not None:
                return iter((inline[offset:],))
            assert blob is not None
            return blobs.read(blob, offset)

        cover = Cover(transmittal=due.body, nro=due.nro, envelopes=tuple(sorted(there.items())))
        return Parcel(
            exchange=due.transmittal.id,
            transmittal_digest=due.digest,
            cover=cover.to_bytes(),
            size=content.size,
            inline=inline,
            read=read,
        )

    # ---- permission

    async def _still_cleared(self, work: Work, transmittal: Transmittal, clearance: Clearance | None, recipients: tuple[str, ...]) -> bool:
        """The clearance is checked before each attempt; when policy or directory changed, policy is asked again."""
        rooms, at, standing = self._rooms, self._rooms.clock.now(), self._rooms.standing
        if clearance is not None and _holds(clearance, standing, at, recipients):
            return True
        row = await rooms.ledger.exchange("out", work.exchange)
        assert row is not None
        verdict = decide(standing.policy, self._question(row, transmittal, recipients, at))
        if isinstance(verdict, Clearance):
            return True
        to = await self._stop(work, recipients, verdict, at)
        for _ in recipients:
            rooms.gauges.outcome("out", to, transmittal.level, work.peer)
        return False

    def _question(self, row: ExchangeRow, transmittal: Transmittal, recipients: tuple[str, ...], at: datetime) -> Question:
        standing = self._rooms.standing
        private = open_private(standing.storage_key, "out", row.id, row.private)
        assert transmittal.content is not None
        return Question(
            side="send",
            level=private.document.level,
            urgency=transmittal.urgency,
            metadata_digest=transmittal.content.manifest,
            parts=private.parts,
            sender=party(standing.directory, standing.organisation),
            recipients=tuple(party(standing.directory, org) for org in recipients),
            at=at,
            directory_version=standing.directory.version,
            directory_digest=standing.directory.digest,
            suite=transmittal.suite,
            size=transmittal.content.size,
            stamped=True,
        )

    async def _stop(self, work: Work, recipients: tuple[str, ...], verdict: Hold | Refusal, at: datetime) -> State:
        self._rooms.hot_out.drop(work.exchange)
        to = State.HELD if isinstance(verdict, Hold) else State.REFUSED
        advances = tuple(
            Advance(direction="out", exchange=work.exchange, recipient=org, expect=IN_FLIGHT, to=to, at=at) for org in recipients
        )
        why = remember(self._rooms.standing.storage_key, work.exchange, recipients, verdict.reasons)
        report = self._desk.report("out", work.exchange, at)
        leaf = self._leaves.redecided(at, work.exchange, verdict)
        await self._rooms.record(Step(changes=(*advances, *why, Finish(key=work.key), Schedule(work=report)), leaves=(leaf,)))
        self._rooms.agenda.add(report)
        return to

    # ---- no final answer

    async def _wait(self, work: Work, answer: Pending) -> None:
        if answer.state == "upload":
            raise PeerProblem("the upload is not complete", problem="upload", retryable=True)
        # It answered: its silence begins anew, and its calling us is no reason to ask sooner.
        await self._rest(work, HELD_REST if answer.state == "held" else VERIFYING_REST)

    async def _rest(self, work: Work, rest: timedelta) -> None:
        """The same work later, as if it were the first attempt."""
        later = replace(work, due=self._rooms.clock.now() + rest, attempts=0)
        await self._rooms.record(Step(changes=(Schedule(work=later),)))
        self._rooms.agenda.add(later)

    def _got_further(self, work: Work, error: Exception) -> bool:
        """Whether the other side holds more of the upload than when it broke the time before: a line that breaks often is no silent peer."""
        facts = getattr(error, "facts", {})
        offset, before = facts.get("offset"), self._reached.get(work.key, 0)
        if not isinstance(offset, int) or offset <= before or not facts.get("retryable", True):
            return False
        self._reached[work.key] = offset
        return True

    async def _follow(self, work: Work, transmittal: Transmittal) -> None:
        """The directory changed since the seal: whoever is behind another gateway now gets a delivery to that one."""
        rooms, at = self._rooms, self._rooms.clock.now()
        row = await rooms.ledger.exchange("out", work.exchange)
        waiting = [passage.recipient for passage in row.passages if passage.state in IN_FLIGHT] if row else []
        moved = [each for each in self._desk.deliveries(transmittal, work.priority, at, waiting) if not rooms.agenda.knows(each.key)]
        if moved:
            await rooms.record(Step(changes=tuple(Schedule(work=each) for each in moved)))
            rooms.agenda.add_all(moved)

    async def _leave(self, work: Work, transmittal: Transmittal) -> None:
        """Nobody is behind that gateway any more. Raises NotListed while somebody still in flight is behind none at all."""
        row = await self._rooms.ledger.exchange("out", work.exchange)
        for passage in row.passages if row else ():
            if passage.state in IN_FLIGHT and transmittal.recipient(passage.recipient) is not None:
                self._rooms.standing.gateway_of(passage.recipient)
        await self._rooms.record(Step(changes=(Finish(key=work.key),)))

    async def give_up(self, work: Work, error: Exception) -> None:
        """Attempts used up, or a final problem: STUCK, stated by ourselves and kept for a person."""
        rooms = self._rooms
        found = await self._find(work.exchange)
        if found is None:
            await rooms.record(Step(changes=(Finish(key=work.key),)))
            return
        stuck = Presumption(
            to=State.STUCK, expect=IN_FLIGHT, kind=LeafKind.STUCK, code=_why(error), reasons=(reason_of(error),), finish=work.key
        )
        for recipient in found.transmittal.recipients:
            if rooms.standing.goes_through(recipient.org, work.peer):
                await self._presume(stuck, found.transmittal, found.digest, recipient.org)

    async def expire(self, exchange: str, org: str) -> None:
        """The exchange's ``expires`` is past and the recipient said nothing that holds it: our own presumption."""
        # Behind no gateway any more: its delivery, wherever it was due, finds the passage ended and finishes itself.
        gateway = next((found.id for found in self._rooms.standing.directory.gateways_of(org)), "")
        over = Presumption(to=State.EXPIRED, expect=OPEN, kind=LeafKind.EXPIRED, code="expired", finish=f"deliver:out:{exchange}:{gateway}")
        await self.presume(over, exchange, org)

    async def presume(self, presumption: Presumption, exchange: str, org: str) -> bool:
        """State what we conclude about one recipient of a sealed exchange; whether its passage was where that could be concluded."""
        row = await self._rooms.ledger.exchange("out", exchange)
        if row is None or row.transmittal is None or row.transmittal_digest is None:
            return False
        return await self._presume(presumption, Transmittal.from_bytes(row.transmittal), row.transmittal_digest, org)

    async def _presume(self, presumption: Presumption, transmittal: Transmittal, transmittal_digest: str, org: str) -> bool:
        async with self._presuming.under(transmittal.id):
            return await self._presume_alone(presumption, transmittal, transmittal_digest, org)

    async def _presume_alone(self, presumption: Presumption, transmittal: Transmittal, transmittal_digest: str, org: str) -> bool:
        rooms, at, to = self._rooms, self._rooms.clock.now(), presumption.to
        rooms.hot_out.drop(transmittal.id)
        before = await rooms.ledger.receipts("out", transmittal.id)
        ours = [row.digest for row in before if (row.recipient, row.issuer_org) == (org, rooms.standing.organisation)]
        judged = await rooms.stage_out.run(
            issue,
            rooms.standing,
            suite_named(transmittal.suite),
            exchange=transmittal.id,
            recipient=org,
            transmittal=transmittal_digest,
            sealed=transmittal.content.sealed if transmittal.content else None,
            event="RelayFailure",
            at=at,
            prev=ours[-1] if ours else None,
            reason=presumption.code,
        )
        finish = (Finish(key=presumption.finish),) if presumption.finish else ()
        report = self._desk.report("out", transmittal.id, at)
        advance = Advance(direction="out", exchange=transmittal.id, recipient=org, expect=presumption.expect, to=to, at=at)
        why = remember(rooms.standing.storage_key, transmittal.id, (org,), presumption.reasons) if presumption.reasons else ()
        leaf = self._leaves.receipt(
            presumption.kind, at, judged.receipt, judged.digest, presumption.kind.value, presumption.code, actor=presumption.actor
        )
        try:
            await rooms.record(Step(changes=(advance, kept(judged, "out", at), *why, *finish, Schedule(work=report)), leaves=(leaf,)))
        except Superseded:
            if finish:
                await rooms.record(Step(changes=finish))
            return False
        rooms.gauges.outcome("out", to, transmittal.level, presumption.finish.rpartition(":")[2])
        rooms.agenda.add(report)
        return True


def _why(error: Exception) -> str:
    """The code of a presumption: a peer's own word comes from a stranger and is spelled anew."""
    return word(str(getattr(error, "problem", None) or getattr(error, "code", "unreachable")))


def _holds(clearance: Clearance, standing: Standing, at: datetime, recipients: tuple[str, ...]) -> bool:
    """Whether a clearance still covers sending to these; where it does not, policy is asked again."""
    try:
        clearance.check(
            policy_digest=standing.policy.digest,
            directory_version=standing.directory.version,
            at=at,
            metadata_digest=clearance.metadata_digest,
            recipients=recipients,
        )
    except ClearanceVoid:
        return False
    return True
