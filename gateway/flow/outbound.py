"""OUT: from the office's tray to a sealed exchange that is due at the recipients' gateways.

Each ``record`` below is one transaction of the journey (DESIGN: TAKEN | HELD | REFUSED, then SEALED); what must happen outside is work of
that transaction. A crash between two of them finds the same work due at the next start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec

from crypto.certificates import Purpose
from crypto.digests import digest
from crypto.errors import LocalError, RemoteError, Unverified
from crypto.suites import SUITES, Suite, suite_named
from gateway.core.directory import NotListed
from gateway.core.document import Document
from gateway.core.document_rules import lint
from gateway.core.errors import AlreadyOpen, BadInput, OfferGone, PartChanged, Superseded
from gateway.core.exchange import TERMINAL, State
from gateway.core.explain import Reason, explain, explain_error
from gateway.core.leaf import Leaf
from gateway.core.manifest import PartEntry
from gateway.core.policy import Clearance, Hold, PartFacts, Party, Question, Refusal, Verdict, decide
from gateway.core.step import Advance, Change, Finish, KeepSealed, OpenExchange, Schedule, Step, Work
from gateway.flow.leaves import Leaves
from gateway.flow.office import Desk
from gateway.flow.opening import party
from gateway.flow.ports import BadOffer, Held, Offer, OfferedPart
from gateway.flow.private import Private, open_private, seal_private
from gateway.flow.rooms import Rooms
from gateway.flow.sealing import Copy, Draft, Ready, Stamped, seal, stamp, token_request
from gateway.flow.standing import Standing
from gateway.flow.witness import new_id

log = logging.getLogger("yizhan.outbound")

BAD_OFFER_REST = timedelta(seconds=30)  # an offer that failed for reasons of ours is looked at again after this


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """An offer copied and cleared, on its way to the seal."""

    draft: Draft
    clearance: Clearance


class Outbound:
    """Takes offers, decides, seals; hands sealed exchanges to the agenda."""

    def __init__(self, rooms: Rooms, desk: Desk, in_flight: int) -> None:
        self._rooms = rooms
        self._desk = desk
        self._leaves = Leaves(rooms.standing)
        self._slots = asyncio.Semaphore(in_flight)
        self._at_work: set[str] = set()
        self._resting: dict[str, datetime] = {}
        self._taken: dict[str, _Taken] = {}
        self.running: set[asyncio.Task[None]] = set()

    # ---- the tray

    async def walk(self, group: asyncio.TaskGroup) -> int:
        """Walk the tray once; how many offers were begun. An offer waits while nothing may be accepted."""
        begun = 0
        if not self._rooms.ready():
            return begun
        async for offer in self._rooms.office.offers():
            if offer.source in self._at_work or offer.source in self._desk.leaving or self._rests(offer.source):
                continue
            await self._slots.acquire()
            self._at_work.add(offer.source)
            begun += 1
            task = group.create_task(self._begin(offer), name=f"take {offer.source}")
            self.running.add(task)
            task.add_done_callback(self.running.discard)
        return begun

    def _rests(self, source: str) -> bool:
        until = self._resting.get(source)
        if until is None:
            return False
        if self._rooms.clock.now() < until:
            return True
        del self._resting[source]
        return False

    async def _begin(self, offer: Offer | BadOffer) -> None:
        try:
            if isinstance(offer, BadOffer):
                await self._turn_away(offer.source, offer.reasons)
            elif errors := lint(offer.document, self._rooms.clock.now(), attachments=_attachments(offer))[0]:
                await self._turn_away(offer.source, errors)
            else:
                await self.take(offer)
        except (PartChanged, NotListed) as error:
            await self._turn_away(offer.source, (explain_error(error),))
        except BadInput as error:
            await self._turn_away(offer.source, error.facts["reasons"])
        except Exception as error:  # the outermost loop of one offer: it stays in the tray and is looked at again
            self._resting[offer.source] = self._rooms.clock.now() + BAD_OFFER_REST
            known = isinstance(error, (LocalError, RemoteError))
            log.log(
                logging.WARNING if known else logging.ERROR, "offer %s waits: %s", offer.source, error, exc_info=None if known else error
            )
        finally:
            self._at_work.discard(offer.source)
            self._slots.release()

    async def _turn_away(self, source: str, reasons: Sequence[Reason]) -> None:
        """Refuse what never became an exchange."""
        at = self._rooms.clock.now()
        work = self._desk.refusal(source, "", reasons, at)
        leaf = self._leaves.offer_refused(at, reasons)
        await self._rooms.record(Step(changes=(Schedule(work=work),), leaves=(leaf,)))
        self._rooms.agenda.add(work)
        for reason in reasons:
            self._rooms.gauges.refused(reason.rule, "")

    # ---- TAKEN | HELD | REFUSED

    async def take(self, offer: Offer) -> str:
        """Take one offer; the exchange id. The same content under the same source finds the first exchange and settles it again."""
        rooms, at = self._rooms, self._rooms.clock.now()
        copies = await rooms.stage_out.run(self._copy, offer.parts)
        exchange = ""
        try:
            content_digest = _content_digest(offer, copies)
            refs = await self._refs(offer, content_digest)
            exchange = await self._decide_and_open(offer, copies, content_digest, refs, at)
        except AlreadyOpen as known:
            await self._desk.settle_again(offer.source, known.exchange)
            return str(known.exchange)
        finally:
            if exchange not in self._taken:  # refused, held, known, or failed: nothing will read this copy
                _drop(copies)
        return exchange

    async def _refs(self, offer: Offer, content_digest: str) -> tuple[str, ...]:
        """Exchanges this source was sent as before. Other content under a source whose exchange is open: refused."""
        earlier = await self._rooms.ledger.taken(self._rooms.office.name, offer.source)
        for exchange, known in earlier:
            if known == content_digest:
                raise AlreadyOpen("this offer was taken before", exchange=exchange)
        if earlier:
            row = await self._rooms.ledger.exchange("out", earlier[-1][0])
            if row is not None and any(passage.state not in TERMINAL["out"] for passage in row.passages):
                reasons = (explain("offer/source-open", source=offer.source, exchange=row.id, at=offer.source),)
                raise BadInput("other content under the name of an open exchange", reasons=reasons)
        return tuple(exchange for exchange, _ in earlier)[-1:]

    def _copy(self, parts: Sequence[OfferedPart]) -> tuple[tuple[OfferedPart, Held], ...]:
        """Copy the content once, digesting on the way; everything after reads this copy."""
        names = tuple(sorted({SUITES[suite].digest for suite in self._rooms.standing.signers}))
        return tuple((part, self._rooms.scratch.hold(part.read(), part.size, names)) for part in parts)

    async def _decide_and_open(
        self, offer: Offer, copies: tuple[tuple[OfferedPart, Held], ...], content_digest: str, refs: tuple[str, ...], at: datetime
    ) -> str:
        exchange = new_id(at)
        document = offer.document.completed(identifier=f"urn:uuid:{exchange}", written=at.date())
        verdict = self._verdict(document, offer, copies, at)
        private = Private.of(document, verdict)
        opening = OpenExchange(
            direction="out",
            id=exchange,
            at=at,
            state=_state_of(verdict),
            recipients=tuple(sorted(org for org, _ in offer.recipients)),
            level=document.level or "",
            urgency=document.urgency,
            suite=verdict.suite.id if isinstance(verdict, Clearance) else "",
            sender_org=self._rooms.standing.organisation,
            sender_gateway=self._rooms.standing.gateway,
            office=self._rooms.office.name,
            source=offer.source,
            content_digest=content_digest,
            private=seal_private(self._rooms.standing, exchange, private),
        )
        leaf = self._leaves.decided(at, exchange, document, verdict, tuple(org for org, _ in offer.recipients))
        if not isinstance(verdict, Clearance):
            await self._open_without_clearance(opening, leaf_reasons=verdict, leaf=leaf, offer=offer, at=at)
            return exchange
        taken = _Taken(draft=_draft(exchange, document, offer, copies, verdict, refs), clearance=verdict)
        self._taken[exchange] = taken
        works = (self._desk.settlement(offer.source, exchange, at), _seal_work(exchange, verdict.priority, at))
        try:
            await self._rooms.record(Step(changes=(opening, *(Schedule(work=work) for work in works)), leaves=(leaf,)))
        except BaseException:
            self._forget(exchange)
            raise
        self._rooms.agenda.add_all(works)
        return exchange

    async def _open_without_clearance(
        self, opening: OpenExchange, *, leaf_reasons: Hold | Refusal, leaf: Leaf, offer: Offer, at: datetime
    ) -> None:
        reasons = leaf_reasons.reasons
        if isinstance(leaf_reasons, Hold):
            work = self._desk.settlement(offer.source, opening.id, at)
        else:
            work = self._desk.refusal(offer.source, opening.id, reasons, at)
        await self._rooms.record(Step(changes=(opening, Schedule(work=work)), leaves=(leaf,)))
        self._rooms.agenda.add(work)
        self._rooms.gauges.outcome("out", opening.state, opening.level, "")
        for reason in reasons:
            self._rooms.gauges.refused(reason.rule, "")

    def _verdict(self, document: Document, offer: Offer, copies: tuple[tuple[OfferedPart, Held], ...], at: datetime) -> Verdict:
        standing = self._rooms.standing
        return decide(standing.policy, question(document, offer.recipients, copies, self._rooms, at))

    # ---- SEALED

    async def seal(self, work: Work) -> None:
        """Work "seal": from TAKEN to SEALED, from the copy still in memory or (after a restart) from the office again."""
        rooms = self._rooms
        taken = self._taken.get(work.exchange) or await self._take_again(work.exchange)
        if taken is None:
            await rooms.record(Step(changes=(Finish(key=work.key),)))
            return
        self._taken[work.exchange] = taken
        stamped = await self._seal_and_stamp(taken)
        at = rooms.clock.now()
        deliveries = self._desk.deliveries(stamped.sealed.transmittal, taken.clearance.priority, at)
        sealed = stamped.sealed
        changes: list[Change] = [
            KeepSealed(
                direction="out",
                exchange=work.exchange,
                transmittal=sealed.transmittal_bytes,
                transmittal_digest=sealed.transmittal_digest,
                nro=stamped.nro,
                envelopes=sealed.envelopes,
                content=sealed.content,
                own_key=sealed.own_key,
                expires=taken.clearance.expires,
            ),
            *(_sealed(work.exchange, org, at) for org, _ in sealed.envelopes),
            Finish(key=work.key),
            *(Schedule(work=delivery) for delivery in deliveries),
        ]
        try:
            await rooms.record(
                Step(changes=tuple(changes), leaves=(self._leaves.sealed(at, sealed.transmittal, sealed.transmittal_digest),))
            )
        except Superseded:
            await rooms.record(Step(changes=(Finish(key=work.key),)))  # sealed before, by a twin of this work
            return
        rooms.hot_out.put(
            work.exchange, Ready(stamped=stamped, clearance=taken.clearance), sealed.content.size if sealed.content.inline else 4096
        )
        self._forget(work.exchange)
        rooms.agenda.add_all(deliveries)

    async def _seal_and_stamp(self, taken: _Taken) -> Stamped:
        rooms, begun = self._rooms, self._rooms.clock.monotonic()
        rooms.guard.check(rooms.clock.now(), rooms.clock.monotonic())
        sealed = await rooms.stage_out.run(seal, taken.draft, taken.clearance, rooms.standing, rooms.clock.now(), rooms.blobs.create)
        if not taken.clearance.timestamp_required:
            return Stamped(sealed=sealed, nro=sealed.nro.der, stamped_at=rooms.clock.now())
        request, nonce = token_request(sealed)
        response = await rooms.tokens[sealed.transmittal.suite].respond(request)
        stamped = await rooms.stage_out.run(stamp, sealed, response, nonce, taken.clearance, rooms.standing, rooms.clock.now())
        rooms.guard.saw_token(stamped.stamped_at, rooms.clock.monotonic())
        rooms.gauges.latency("seal", rooms.clock.monotonic() - begun)
        return stamped

    async def _take_again(self, exchange: str) -> _Taken | None:
        """TAKEN without its content, after a restart: fetched again, and it must show the same digests."""
        rooms, at = self._rooms, self._rooms.clock.now()
        row = await rooms.ledger.exchange("out", exchange)
        if row is None or all(passage.state is not State.TAKEN for passage in row.passages):
            return None
        offer = await rooms.office.fetch(row.source, exchange)
        copies = await rooms.stage_out.run(self._copy, offer.parts)
        if _content_digest(offer, copies) != row.content_digest:
            raise OfferGone("the office shows other content than was taken", exchange=exchange)
        private = open_private(rooms.standing, exchange, row.private)
        verdict = self._verdict(private.document, offer, copies, at)
        if not isinstance(verdict, Clearance):
            await self._refuse_taken(exchange, verdict, at)
            return None
        return _Taken(draft=_draft(exchange, private.document, offer, copies, verdict, ()), clearance=verdict)

    async def _refuse_taken(self, exchange: str, verdict: Hold | Refusal, at: datetime) -> None:
        """Policy or directory changed between TAKEN and SEALED."""
        rooms = self._rooms
        row = await rooms.ledger.exchange("out", exchange)
        assert row is not None
        to = _state_of(verdict)
        advances = tuple(
            Advance(direction="out", exchange=exchange, recipient=passage.recipient, expect=frozenset({State.TAKEN}), to=to, at=at)
            for passage in row.passages
        )
        work = self._desk.report("out", exchange, at)
        leaf = self._leaves.redecided(at, exchange, verdict)
        await rooms.record(Step(changes=(*advances, Schedule(work=work)), leaves=(leaf,)))
        rooms.agenda.add(work)

    def _forget(self, exchange: str) -> None:
        taken = self._taken.pop(exchange, None)
        if taken is not None:
            for copy in taken.draft.copies:
                copy.held.drop()


def question(
    document: Document, recipients: Sequence[tuple[str, str]], copies: Sequence[tuple[OfferedPart, Held]], rooms: Rooms, at: datetime
) -> Question:
    """What policy is asked about an offer."""
    standing = rooms.standing
    parts = tuple(
        PartFacts(name=part.name, media_type=part.media_type, size=part.size, digest=next(iter(held.digests.values())), level=part.level)
        for part, held in copies
    )
    return Question(
        kind="document",
        side="send",
        level=document.level,
        urgency=document.urgency,
        suite=None,
        metadata_digest=digest("sha256", document.to_bytes()),
        parts=parts,
        size=sum(part.size for part in parts),
        sender=party(standing.directory, standing.organisation),
        recipients=tuple(_recipient(standing, org, at) for org, _ in sorted(recipients)),
        at=at,
        created=None,
        expires=None,
        stamped=True,
        directory_version=standing.directory.version,
        directory_digest=standing.directory.digest,
    )


def _recipient(standing: Standing, org: str, at: datetime) -> Party:
    """A recipient as policy sees it: of its suites only those in which something may be encrypted to it now. Raises NotListed, CrlStale."""
    known = party(standing.directory, org)
    return replace(known, suites=tuple(suite for suite in known.suites if _reachable(standing, org, suite_named(suite), at)))


def _reachable(standing: Standing, org: str, suite: Suite, at: datetime) -> bool:
    certificates = standing.directory.encryption_certificates(org, suite)
    if not certificates:
        return False
    try:
        chain = standing.chains.verify(certificates[0], at=at, now=at, purpose=Purpose.ENCRYPT)
    except Unverified as error:
        log.warning("the encryption certificate of %s is not used: %s", org, error)
        return False
    return chain.revoked_later is None


def _attachments(offer: Offer) -> int:
    return sum(part.role == "attachment" for part in offer.parts)


def _drop(copies: Sequence[tuple[OfferedPart, Held]]) -> None:
    for _, held in copies:
        held.drop()


def _state_of(verdict: Verdict) -> State:
    if isinstance(verdict, Clearance):
        return State.TAKEN
    return State.HELD if isinstance(verdict, Hold) else State.REFUSED


def _sealed(exchange: str, org: str, at: datetime) -> Advance:
    return Advance(direction="out", exchange=exchange, recipient=org, expect=frozenset({State.TAKEN}), to=State.SEALED, at=at)


def _seal_work(exchange: str, priority: int, at: datetime) -> Work:
    return Work(key=f"seal:out:{exchange}", kind="seal", direction="out", exchange=exchange, due=at, priority=priority)


def _content_digest(offer: Offer, copies: Sequence[tuple[OfferedPart, Held]]) -> str:
    """What an offer says and holds: with office and source it names the offer for ever."""
    facts = {
        "document": offer.document.to_bytes().decode(),
        "recipients": sorted(offer.recipients),
        "parts": [(part.name, part.role, part.level, held.size, sorted(held.digests.items())) for part, held in copies],
    }
    return digest("sha256", msgspec.json.encode(facts, order="sorted"))


def _draft(
    exchange: str,
    document: Document,
    offer: Offer,
    copies: Sequence[tuple[OfferedPart, Held]],
    clearance: Clearance,
    refs: tuple[str, ...],
) -> Draft:
    assert document.level is not None
    return Draft(
        exchange=exchange,
        document=document,
        level=document.level,
        urgency=document.urgency,
        recipients=tuple(sorted(offer.recipients)),
        copies=tuple(
            Copy(
                entry=PartEntry(
                    name=part.name,
                    role=part.role,
                    level=part.level or document.level,
                    media_type=part.media_type,
                    size=held.size,
                    digest=held.digests[clearance.suite.digest],
                ),
                held=held,
            )
            for part, held in copies
        ),
        refs=refs,
    )
