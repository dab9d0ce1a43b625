"""OUT: from the office's tray to a sealed exchange that is due at the recipients' gateways.

Each ``record`` below is one transaction of the journey (DESIGN: TAKEN | HELD | REFUSED, then SEALED); what must happen outside is work of
that transaction. A crash between two of them finds the same work due at the next start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from crypto.errors import LocalError, RemoteError, YizhanError
from crypto.suites import SUITES
from gateway.core.document_rules import lint
from gateway.core.errors import AlreadyOpen, BadConfiguration, BadInput, NoRoom, OfferGone, PartChanged, Superseded
from gateway.core.exchange import TERMINAL, State
from gateway.core.explain import Reason, explain_error
from gateway.core.leaf import Leaf
from gateway.core.policy import Clearance, ClearanceVoid, Hold, Refusal, Verdict, decide
from gateway.core.step import Advance, Change, Finish, KeepSealed, OpenExchange, Schedule, Step, StoredContent, Work
from gateway.flow.bulk import Grade, Heavy, Stopping, grade, size_note
from gateway.flow.leaves import Leaves
from gateway.flow.offered import Earlier, Taken, attachments, check_recipients, check_size, content_digest_of, drop, question, size_of_offer
from gateway.flow.office import Desk
from gateway.flow.ports import BadOffer, Held, Offer, OfferedPart
from gateway.flow.pressure import Full
from gateway.flow.private import ALIAS, open_private, seal_private, source_digest
from gateway.flow.progress import Progress, Stand
from gateway.flow.queue_poison import Poison
from gateway.flow.queue_reasons import remember
from gateway.flow.rooms import Rooms
from gateway.flow.sealing import Ready, Sealed, Stamped, encrypt, put_seal, seal, stamp, token_request
from gateway.flow.trouble import is_defect
from gateway.flow.witness import new_id

log = logging.getLogger("yizhan.outbound")

HOT_OVERHEAD = 4096  # what a sealed exchange holds beside its content, transmittal and envelopes: objects, signature, token
BAD_OFFER_REST = 30.0  # seconds; an offer that failed for reasons of ours is looked at again after this


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """An offer copied and decided, and sealed where it is small and cleared; nothing is recorded yet."""

    taken: Taken
    verdict: Verdict
    opening: OpenExchange
    leaf: Leaf
    sealed: Sealed | None


class Outbound:
    """Takes offers, decides, seals; hands sealed exchanges to the agenda."""

    def __init__(self, rooms: Rooms, desk: Desk, in_flight: int, poison: Poison) -> None:
        self._rooms = rooms
        self._desk = desk
        self._poison = poison
        self._leaves = Leaves(rooms.standing)
        self._slots = asyncio.Semaphore(in_flight)
        self._heavy = Heavy("out")
        self._at_work: set[str] = set()
        self._resting: dict[str, float] = {}  # until when, by the clock nobody sets
        self._taken: dict[str, Taken] = {}
        self.running: set[asyncio.Task[None]] = set()

    # ---- the tray

    async def walk(self, group: asyncio.TaskGroup) -> int:
        """Walk the tray once; how many offers were begun. An offer waits while nothing may be accepted, or too much is under way."""
        begun, seen = 0, set()
        if not self._rooms.ready():
            return begun
        self._rooms.pressure.look()
        async for offer in self._rooms.office.offers():
            seen.add(offer.source)
            if offer.source in self._at_work or offer.source in self._desk.leaving or self._rests(offer.source):
                continue
            if self._waits(offer):
                continue
            full = self._full(offer)
            if full == "documents":
                return begun  # whatever else lies in the tray would wait as well
            if full is not None:
                continue
            await self._slots.acquire()
            self._at_work.add(offer.source)
            self._rooms.pressure.begin(offer.source, self._gateways(offer), size_of_offer(offer))
            begun += 1
            task = group.create_task(self._begin(offer), name=f"take {self._alias(offer.source)}")
            self.running.add(task)
            task.add_done_callback(self.running.discard)
        for work in self._poison.aside("take"):
            if self._set_aside_source(work) not in seen:  # taken out of the tray by a person
                await self._poison.forgive(work)
        return begun

    def _waits(self, offer: Offer | BadOffer) -> bool:
        """Whether something is away that the offer's level may not go on without: it stays in the tray."""
        if isinstance(offer, BadOffer):
            return False
        rooms, level = self._rooms, offer.document.level
        if rooms.stopped_at(level or rooms.standing.policy.lowest) is not None:
            return True
        return rooms.degraded.untaken(level, offer.document.urgency, sum(part.size for part in offer.parts)) is not None

    def _full(self, offer: Offer | BadOffer) -> Full | None:
        return self._rooms.pressure.full(self._gateways(offer), size_of_offer(offer), self._rooms.clock.monotonic())

    def _gateways(self, offer: Offer | BadOffer) -> frozenset[str]:
        """Where an offer goes; whoever is behind no gateway is refused and waits for nothing."""
        if isinstance(offer, BadOffer):
            return frozenset()
        directory = self._rooms.standing.directory
        return frozenset(found.id for org, _ in offer.recipients for found in directory.gateways_of(org)[:1])

    def _alias(self, source: str) -> str:
        """What stands for an offer in the log: people put titles into the names of their folders."""
        return source_digest(self._rooms.standing, self._rooms.office.name, source)[:ALIAS]

    def _offering(self, source: str) -> Work:
        """What stands for an offer that our own code fails at; its name waits sealed."""
        rooms, key = self._rooms, self._offer_key(source)
        detail = rooms.standing.storage_key.seal(source.encode(), key.encode())
        return Work(key=key, kind="take", direction="out", exchange="", due=rooms.clock.now(), peer=rooms.office.name, detail=detail)

    def _offer_key(self, source: str) -> str:
        return f"take:out:{source_digest(self._rooms.standing, self._rooms.office.name, source)}"

    def _set_aside_source(self, work: Work) -> str:
        return self._rooms.standing.storage_key.open(work.detail, work.key.encode()).decode()

    def _rests(self, source: str) -> bool:
        if self._poison and self._poison.is_aside(self._offer_key(source)):
            return True
        until = self._resting.get(source)
        if until is None:
            return False
        if self._rooms.clock.monotonic() < until:
            return True
        del self._resting[source]
        return False

    async def _begin(self, offer: Offer | BadOffer) -> None:
        try:
            await self._take_or_turn_away(offer)
        except Exception as error:  # noqa: BLE001  # the outermost loop of one offer: it stays in the tray and is looked at again
            await self._look_again_later(offer.source, error)
        else:
            if self._poison:
                self._poison.passed(self._offer_key(offer.source))
        finally:
            self._at_work.discard(offer.source)
            self._rooms.pressure.begun(offer.source)
            self._slots.release()

    async def _take_or_turn_away(self, offer: Offer | BadOffer) -> None:
        try:
            if isinstance(offer, BadOffer):
                await self._turn_away(offer.source, offer.reasons)
            elif errors := lint(offer.document, self._rooms.clock.now(), attachments=attachments(offer))[0]:
                await self._turn_away(offer.source, errors)
            else:
                await self.take(offer)
        except PartChanged as error:
            await self._turn_away(offer.source, (explain_error(error, at=str(error.facts.get("name", ""))),))
        except BadInput as error:
            await self._turn_away(offer.source, error.facts["reasons"])

    async def _look_again_later(self, source: str, error: Exception) -> None:
        """It failed for reasons of ours: put off, or set aside when our own code fails at it again and again."""
        self._resting[source] = self._rooms.clock.monotonic() + BAD_OFFER_REST
        if not is_defect(error):
            log.warning("offer %s waits: %s", self._alias(source), error)
            return
        log.error("offer %s waits: %s", self._alias(source), error, exc_info=error)
        try:
            await self._poison.failed(self._offering(source), error)
        except Exception:  # a full disk, say: it is set aside in memory, and again after a restart
            log.exception("offer %s could not be set aside", self._alias(source))

    async def _turn_away(self, source: str, reasons: Sequence[Reason]) -> None:
        """Refuse what never became an exchange."""
        at = self._rooms.clock.now()
        work = self._desk.refusal(source, "", reasons, at)
        leaf = self._leaves.offer_refused(at, reasons)
        await self._rooms.record(Step(changes=(Schedule(work=work),), leaves=(leaf,)))
        self._desk.leave(source, work)
        for reason in reasons:
            self._rooms.gauges.refused(reason.rule, "")

    # ---- TAKEN | HELD | REFUSED

    async def take(self, offer: Offer) -> str:
        """Take one offer; the exchange id. The same content under the same source finds the first exchange and settles it again.

        A small document is sealed at once, and TAKEN and SEALED are one transaction; a large one, or one no time authority answers for, is
        TAKEN first, and its seal is due work.
        """
        rooms, at = self._rooms, self._rooms.clock.now()
        check_recipients(rooms.standing, offer)
        check_size(offer)
        try:
            earlier = await self._earlier(offer.source)
            begun = rooms.clock.monotonic()
            if grade(size_of_offer(offer)) is Grade.SMALL:
                prepared = await rooms.stage_out.run(self._prepare, offer, earlier, at)
            else:
                copies = await self._copy_bulk(offer)
                at = rooms.clock.now()  # copying took its time
                prepared = await rooms.stage_out.run(self._decide, offer, copies, earlier, at)
        except AlreadyOpen as known:
            await self._desk.settle_again(offer.source, known.exchange)
            return str(known.exchange)
        opening, taken = prepared.opening, prepared.taken
        try:
            if isinstance(prepared.verdict, Clearance):
                await self._open_cleared(prepared, begun)
            else:
                await self._open_without_clearance(opening, leaf_reasons=prepared.verdict, leaf=prepared.leaf, offer=offer, at=at)
        except AlreadyOpen as known:
            await self._desk.settle_again(offer.source, known.exchange)
            return str(known.exchange)
        finally:
            if opening.id not in self._taken:  # sealed, refused, held, known, or failed: nothing will read this copy
                drop(taken.copies)
        return opening.id

    async def _earlier(self, source: str) -> Earlier:
        """What was sent as this source before, and whether the last of it is still under way."""
        office = self._rooms.office.name
        before = await self._rooms.ledger.taken(office, source_digest(self._rooms.standing, office, source))
        if not before:
            return Earlier(exchanges=(), is_open=False)
        row = await self._rooms.ledger.exchange("out", before[-1][0])
        is_open = row is not None and any(passage.state not in TERMINAL["out"] for passage in row.passages)
        return Earlier(exchanges=before, is_open=is_open)

    def _copy(self, parts: Sequence[OfferedPart]) -> tuple[tuple[OfferedPart, Held], ...]:
        """Copy the content once, digesting on the way; everything after reads this copy."""
        names = tuple(sorted({SUITES[suite].digest for suite in self._rooms.standing.signers}))
        copies: list[tuple[OfferedPart, Held]] = []
        try:
            for part in parts:
                copies.append((part, self._rooms.scratch.hold(part.read(), part.size, names)))  # noqa: PERF401  # all so far are dropped
        except BaseException:
            drop(copies)
            raise
        return tuple(copies)

    async def _copy_bulk(self, offer: Offer) -> tuple[tuple[OfferedPart, Held], ...]:
        return await self._heavy.run(
            size_of_offer(offer), self._copy, [replace(part, read=self._while_serving(part)) for part in offer.parts]
        )

    def _while_serving(self, part: OfferedPart) -> Callable[[], Iterator[bytes]]:
        def read() -> Iterator[bytes]:
            for chunk in part.read():
                self._keep_on()
                yield chunk

        return read

    def _keep_on(self) -> None:
        """Raises Stopping when the gateway goes down: what takes minutes does not hold that up, and begins anew at the next start."""
        if not self._rooms.standing.accepts_work:
            raise Stopping("going down")

    def _prepare(self, offer: Offer, earlier: Earlier, at: datetime) -> _Prepared:
        """One hop for a small offer: copy, decide, and seal what is cleared."""
        return self._decide(offer, self._copy(offer.parts), earlier, at)

    def _decide(self, offer: Offer, copies: tuple[tuple[OfferedPart, Held], ...], earlier: Earlier, at: datetime) -> _Prepared:
        """Compare with what was sent before, ask policy, and seal what is small and cleared."""
        try:
            content_digest = content_digest_of(offer, copies)
            refs = earlier.refs_for(offer.source, content_digest)
            exchange = new_id(at)
            document = offer.document.completed(identifier=f"urn:uuid:{exchange}", written=at.date())
            verdict = decide(self._rooms.standing.policy, question(document, offer.recipients, copies, self._rooms, at))
            if isinstance(verdict, Clearance):
                self._rooms.standing.check_signer(verdict.suite, at, verdict.level)
            taken = Taken(exchange=exchange, document=document, offer=offer, copies=copies, refs=refs, verdict=verdict)
            return _Prepared(
                taken=taken,
                verdict=verdict,
                opening=self._opening(taken, verdict, content_digest, at),
                leaf=self._leaves.decided(at, exchange, document, verdict, tuple(org for org, _ in offer.recipients)),
                sealed=self._seal_small(taken, verdict, at),
            )
        except BaseException:
            drop(copies)
            raise

    def _seal_small(self, taken: Taken, verdict: Verdict, at: datetime) -> Sealed | None:
        rooms = self._rooms
        if not isinstance(verdict, Clearance) or grade(taken.size) is not Grade.SMALL:
            return None
        try:
            return seal(taken.draft, verdict, rooms.standing, at, rooms.blobs.create)
        except ClearanceVoid:  # policy or directory changed under our hands: the seal is due work, which decides again
            return None

    def _opening(self, taken: Taken, verdict: Verdict, content_digest: str, at: datetime) -> OpenExchange:
        standing, document, offer = self._rooms.standing, taken.document, taken.offer
        return OpenExchange(
            direction="out",
            id=taken.exchange,
            at=at,
            state=_state_of(verdict),
            recipients=tuple(sorted(org for org, _ in offer.recipients)),
            level=document.level or "",
            urgency=document.urgency,
            suite=verdict.suite.id if isinstance(verdict, Clearance) else "",
            sender_org=standing.organisation,
            sender_gateway=standing.gateway,
            office=self._rooms.office.name,
            source=source_digest(standing, self._rooms.office.name, offer.source),
            content_digest=content_digest,
            private=seal_private(standing, "out", taken.exchange, taken.private),
        )

    async def _open_cleared(self, prepared: _Prepared, begun: float) -> None:
        stamped = await self._stamp_at_once(prepared)
        if stamped is not None:
            self._rooms.gauges.latency("seal", self._rooms.clock.monotonic() - begun)
            await self._open_sealed(prepared, stamped)
            return
        opening, taken = prepared.opening, prepared.taken
        self._taken[opening.id] = taken
        works = (
            self._desk.settlement(taken.offer.source, opening.id, opening.at),
            _seal_work(opening.id, taken.clearance.priority, taken.size, opening.at),
        )
        try:
            await self._rooms.record(Step(changes=(opening, *(Schedule(work=work) for work in works)), leaves=(prepared.leaf,)))
        except BaseException:
            self.forget(opening.id)
            raise
        self._desk.leave(taken.offer.source, *works)
        self._count(opening.recipients, State.TAKEN, opening.level)

    def _count(self, recipients: Sequence[str], state: State, level: str) -> None:
        """Passages that reached a state before anybody's gateway had a part in it."""
        for _ in recipients:
            self._rooms.gauges.outcome("out", state, level, "")

    async def _stamp_at_once(self, prepared: _Prepared) -> Stamped | None:
        """The token for what was sealed at once; None where there is none to be had now, and the seal becomes due work."""
        rooms, sealed = self._rooms, prepared.sealed
        if sealed is None:
            return None
        try:
            rooms.check_clock(prepared.taken.clearance.level)
            if not prepared.taken.clearance.timestamp_required:
                return Stamped(sealed=sealed, nro=sealed.nro.der, stamped_at=rooms.clock.now())
            return await self._stamp(sealed, prepared.taken.clearance)
        except (LocalError, RemoteError) as error:
            log.warning("exchange %s is not sealed at once: %s", prepared.opening.id, error)
            await self._discard(sealed.content)
            return None

    async def _open_sealed(self, prepared: _Prepared, stamped: Stamped) -> None:
        """TAKEN and SEALED in one transaction."""
        rooms, at = self._rooms, self._rooms.clock.now()
        opening, clearance, source = prepared.opening, prepared.taken.clearance, prepared.taken.offer.source
        changes, dues, leaf = self._sealing(opening.id, stamped, clearance, at)
        dues = (self._desk.settlement(source, opening.id, at), *dues)
        step = Step(
            changes=(replace(opening, state=State.SEALED), *changes, *(Schedule(work=due) for due in dues)), leaves=(prepared.leaf, leaf)
        )
        try:
            await rooms.record(step)
        except (AlreadyOpen, NoRoom):
            await self._discard(stamped.sealed.content)
            raise
        self._keep_hot(prepared.taken, stamped, opening.at)  # as the passages say: a status read from them must not look older
        self._desk.leave(source, *dues)
        for state in (State.TAKEN, State.SEALED):
            self._count(opening.recipients, state, opening.level)

    def _sealing(
        self, exchange: str, stamped: Stamped, clearance: Clearance, at: datetime
    ) -> tuple[tuple[Change, ...], tuple[Work, ...], Leaf]:
        """What SEALED keeps, what becomes due with it, and its leaf."""
        sealed = stamped.sealed
        kept = KeepSealed(
            direction="out",
            exchange=exchange,
            transmittal=sealed.transmittal_bytes,
            transmittal_digest=sealed.transmittal_digest,
            nro=stamped.nro,
            envelopes=sealed.envelopes,
            content=sealed.content,
            own_key=sealed.own_key,
            expires=sealed.transmittal.expires_at,
        )
        dues = (*self._desk.deliveries(sealed.transmittal, clearance.priority, at), self._desk.report("out", exchange, at, passing=True))
        graces = self._rooms.degraded.graces(sealed.transmittal.level)
        return (kept,), dues, self._leaves.sealed(at, sealed.transmittal, sealed.transmittal_digest, graces)

    def _keep_hot(self, taken: Taken, stamped: Stamped, at: datetime) -> None:
        content, clearance = stamped.sealed.content, taken.clearance
        progress = Progress(
            title=taken.document.title,
            reasons=clearance.reasons,
            stands={org: Stand(State.SEALED, at) for org, _ in stamped.sealed.envelopes},
        )
        ready = Ready(stamped=stamped, clearance=clearance, progress=progress)
        sealed = stamped.sealed
        size = len(sealed.transmittal_bytes) + sum(len(envelope) for _, envelope in sealed.envelopes)
        self._rooms.hot_out.put(taken.exchange, ready, len(content.inline or b"") + size + HOT_OVERHEAD)

    async def _open_without_clearance(
        self, opening: OpenExchange, *, leaf_reasons: Hold | Refusal, leaf: Leaf, offer: Offer, at: datetime
    ) -> None:
        reasons = leaf_reasons.reasons
        works: tuple[Work, ...]
        if isinstance(leaf_reasons, Hold):
            works = (self._desk.settlement(offer.source, opening.id, at), self._desk.report("out", opening.id, at))
        else:
            works = (self._desk.refusal(offer.source, opening.id, reasons, at),)
        await self._rooms.record(Step(changes=(opening, *(Schedule(work=work) for work in works)), leaves=(leaf,)))
        self._desk.leave(offer.source, *works)
        self._count(opening.recipients, opening.state, opening.level)
        for reason in reasons:
            self._rooms.gauges.refused(reason.rule, "")

    # ---- SEALED

    async def seal(self, work: Work) -> None:
        """Work "seal": from TAKEN to SEALED, from the copy still in memory or (after a restart) from the office again."""
        rooms = self._rooms
        taken = self._taken.get(work.exchange) or await self._take_again(work)
        if taken is None:
            await rooms.record(Step(changes=(Finish(key=work.key),)))
            return
        self._taken[work.exchange] = taken
        try:
            stamped = await self._seal_and_stamp(taken)
        except ClearanceVoid:  # policy or directory changed since it was taken
            if not await self._decide_again(taken, work):
                return
            taken = self._taken[work.exchange]
            stamped = await self._seal_and_stamp(taken)
        at = rooms.clock.now()
        changes, dues, leaf = self._sealing(work.exchange, stamped, taken.clearance, at)
        advances = (_sealed(work.exchange, org, at) for org, _ in stamped.sealed.envelopes)
        try:
            await rooms.record(
                Step(changes=(*changes, *advances, Finish(key=work.key), *(Schedule(work=due) for due in dues)), leaves=(leaf,))
            )
        except Superseded:
            await rooms.record(Step(changes=(Finish(key=work.key),)))  # sealed before, by a twin of this work
            await self._discard(stamped.sealed.content)
            self.forget(work.exchange)
            return
        except NoRoom:
            await self._discard(stamped.sealed.content)
            raise
        self._keep_hot(taken, stamped, at)
        self._count([org for org, _ in stamped.sealed.envelopes], State.SEALED, stamped.sealed.transmittal.level)
        self.forget(work.exchange)
        rooms.agenda.add_all(dues)

    async def _seal_and_stamp(self, taken: Taken) -> Stamped:
        rooms, begun = self._rooms, self._rooms.clock.monotonic()
        rooms.check_clock(taken.clearance.level)
        sealed = await self._seal(taken)
        if not taken.clearance.timestamp_required:
            return Stamped(sealed=sealed, nro=sealed.nro.der, stamped_at=rooms.clock.now())
        try:
            stamped = await self._stamp(sealed, taken.clearance)
        except BaseException:  # the next attempt seals anew: a token must be as young as the signature
            await self._discard(sealed.content)
            raise
        rooms.gauges.latency("seal", rooms.clock.monotonic() - begun)
        return stamped

    async def _seal(self, taken: Taken) -> Sealed:
        rooms, draft, clearance = self._rooms, taken.draft, taken.clearance
        if grade(taken.size) is Grade.SMALL:
            return await rooms.stage_out.run(seal, draft, clearance, rooms.standing, rooms.clock.now(), rooms.blobs.create)
        encrypted = await self._heavy.run(
            taken.size, encrypt, draft, clearance, rooms.standing, rooms.clock.now(), rooms.blobs.create, keep_on=self._keep_on
        )
        try:  # created only now: the token has to be as young as that, and encrypting may have taken longer
            return await rooms.stage_out.run(put_seal, encrypted, draft, clearance, rooms.standing, rooms.clock.now())
        except BaseException:
            await self._discard(encrypted.content)
            raise

    async def _stamp(self, sealed: Sealed, clearance: Clearance) -> Stamped:
        rooms = self._rooms
        request, nonce = token_request(sealed)
        source = rooms.tokens.get(sealed.transmittal.suite)
        if source is None:
            message = f"gateway.toml: time.authorities: none for suite {sealed.transmittal.suite}"
            raise BadConfiguration(message, file="gateway.toml", key="time.authorities")
        response = await source.respond(request)
        now, mono = rooms.clock.now(), rooms.clock.monotonic()  # before the stage: a large document there must not look like a slow clock
        stamped = await rooms.stage_out.run(stamp, sealed, response, nonce, clearance, rooms.standing, now)
        rooms.guard.saw_token(stamped.stamped_at, mono)
        rooms.degraded.heard("time-authority", sealed.transmittal.suite)
        return stamped

    async def _discard(self, content: StoredContent) -> None:
        """Ciphertext no transaction will ever name."""
        if content.blob is not None:
            await asyncio.to_thread(self._rooms.blobs.remove, content.blob)

    async def _decide_again(self, taken: Taken, work: Work) -> bool:
        """Ask policy once more about a taken offer; whether it is still cleared."""
        rooms, at = self._rooms, self._rooms.clock.now()
        verdict = decide(rooms.standing.policy, question(taken.document, taken.offer.recipients, taken.copies, rooms, at))
        if isinstance(verdict, Clearance):
            self._taken[taken.exchange] = replace(taken, verdict=verdict)
            return True
        await self._refuse_taken(taken.exchange, verdict, at, work)
        return False

    async def give_up(self, work: Work, error: Exception) -> None:
        """A seal that failed for longer than anybody waits: refused, so that the office learns of it."""
        reason = explain_error(error if isinstance(error, YizhanError) else LocalError(str(error)))
        await self._refuse_taken(work.exchange, Refusal(reasons=(reason,)), self._rooms.clock.now(), work)

    async def _take_again(self, work: Work) -> Taken | None:
        """TAKEN without its content, after a restart: fetched again, and it must show the same digests."""
        rooms, at, exchange = self._rooms, self._rooms.clock.now(), work.exchange
        row = await rooms.ledger.exchange("out", exchange)
        if row is None or all(passage.state is not State.TAKEN for passage in row.passages):
            return None
        private = open_private(rooms.standing.storage_key, "out", exchange, row.private)
        document, offer = private.document, await rooms.office.fetch(private.source, exchange)
        copies = await self._copy_bulk(offer)
        try:
            if content_digest_of(offer, copies) != row.content_digest:
                raise OfferGone("the office shows other content than was taken", exchange=exchange)
            verdict = decide(rooms.standing.policy, question(document, offer.recipients, copies, rooms, at))
            refs = await self._refs_before(row.source, exchange)
        except BaseException:
            drop(copies)
            raise
        if not isinstance(verdict, Clearance):
            drop(copies)
            await self._refuse_taken(exchange, verdict, at, work)
            return None
        return Taken(exchange=exchange, document=document, offer=offer, copies=copies, refs=refs, verdict=verdict)

    async def _refs_before(self, source: str, exchange: str) -> tuple[str, ...]:
        """What ``_refs`` said when this exchange was opened."""
        ids = [known for known, _ in await self._rooms.ledger.taken(self._rooms.office.name, source)]
        return tuple(ids[: ids.index(exchange)][-1:])

    async def _refuse_taken(self, exchange: str, verdict: Hold | Refusal, at: datetime, work: Work) -> None:
        """Policy or directory changed between TAKEN and SEALED, or the seal will never come."""
        rooms = self._rooms
        row = await rooms.ledger.exchange("out", exchange)
        assert row is not None
        to = _state_of(verdict)
        advances = tuple(
            Advance(direction="out", exchange=exchange, recipient=passage.recipient, expect=frozenset({State.TAKEN}), to=to, at=at)
            for passage in row.passages
        )
        why = remember(rooms.standing.storage_key, exchange, [passage.recipient for passage in row.passages], verdict.reasons)
        report = self._desk.report("out", exchange, at)
        leaf = self._leaves.redecided(at, exchange, verdict)
        try:
            await rooms.record(Step(changes=(*advances, *why, Finish(key=work.key), Schedule(work=report)), leaves=(leaf,)))
            rooms.agenda.add(report)
            self._count([passage.recipient for passage in row.passages], to, row.level)
        except Superseded:
            await rooms.record(Step(changes=(Finish(key=work.key),)))
        self.forget(exchange)

    def forget(self, exchange: str) -> None:
        """Nothing will read the copy of this offer any more."""
        taken = self._taken.pop(exchange, None)
        if taken is not None:
            drop(taken.copies)


def _state_of(verdict: Verdict) -> State:
    if isinstance(verdict, Clearance):
        return State.TAKEN
    return State.HELD if isinstance(verdict, Hold) else State.REFUSED


def _sealed(exchange: str, org: str, at: datetime) -> Advance:
    return Advance(direction="out", exchange=exchange, recipient=org, expect=frozenset({State.TAKEN}), to=State.SEALED, at=at)


def _seal_work(exchange: str, priority: int, size: int, at: datetime) -> Work:
    return Work(
        key=f"seal:out:{exchange}", kind="seal", direction="out", exchange=exchange, due=at, priority=priority, detail=size_note(size)
    )
