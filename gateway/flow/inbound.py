"""IN: arrivals from other gateways, from the first byte to ACCEPTED (or a signed refusal), with the receipt that says so.

The checks stand in ``opening``; here is their order in time: cover first, duplicates next, content last, then one transaction. A 200
answer carries the receipts, so 200 means durable and good.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NoReturn

from crypto.certificates import CrlStale
from crypto.content_cipher import ContentKey
from crypto.errors import LocalError, Malformed, YizhanError
from gateway.core.canonical import parse_time
from gateway.core.cover import Cover
from gateway.core.errors import AlreadyOpen, NameTaken, NoRoom, ProblemError, TooManyUploads
from gateway.core.exchange import State
from gateway.core.explain import Reason, explain
from gateway.core.keys import arrival_key, id_of
from gateway.core.leaf import Leaf, LeafKind
from gateway.core.receipt import EventName
from gateway.core.step import Change, KeepReceipt, KeepSealed, OpenExchange, Schedule, Step, StoredContent, Work
from gateway.core.transmittal import NotEntitled, Transmittal, check_notice
from gateway.flow.alone import Alone
from gateway.flow.bulk import Heavy, size_note
from gateway.flow.clockguard import ClockUntrusted
from gateway.flow.leaves import Leaves, word
from gateway.flow.opening import Examined, HeldBack, Opened, Refused, Warm, damaged, examine, open_content
from gateway.flow.ports import Answer, ExchangeRow, Pending, ReceiptAnswer, Receipted, ReceiptRow, SignedReceipt, Upload
from gateway.flow.private import Private, seal_private
from gateway.flow.queue_poison import Poison
from gateway.flow.rooms import Rooms
from gateway.flow.sealing import INLINE_CONTENT, keep_key
from gateway.flow.taking import Taking
from gateway.flow.witness import Judged, issue, kept, sending

log = logging.getLogger("yizhan.inbound")

MAX_INLINE_ARRIVAL = 1024 * 1024  # what one request may carry beside its cover; larger content is uploaded in pieces
WRITE_CHUNK = 1024 * 1024  # bytes gathered before a hop to the disk thread
# What says something about this moment here and nothing about what came: no leaf, or a busy hour would fill the log.
TRANSIENT = frozenset({"busy", "clock", "crl-stale", "directory-expired", "directory-unknown", "internal", "no-room", "too-many"})
ANSWERS = frozenset({"ContentConsignment", "ContentConsignmentFailure"})  # what an offer is answered with; the rest follows
VERIFY_WITHIN = 10.0  # seconds an answer may take after the last byte; then 202 and the peer asks again


class Inbound:
    """Implements ``ports.Arrivals``."""

    def __init__(self, rooms: Rooms, taking: Taking, poison: Poison) -> None:
        self._rooms = rooms
        self._taking = taking
        self._poison = poison
        self._leaves = Leaves(rooms.standing)
        self._verifying: dict[str, asyncio.Task[Answer]] = {}
        self._writing = Alone()
        self._heavy = Heavy("in")
        self.on_unknown_directory: Callable[[], None] = lambda: None  # app lets it fetch the newest one

    # ---- ports.Arrivals

    async def offer(self, peer: str, cover: bytes, content: bytes | None) -> Answer:
        """A cover, with the whole ciphertext when it came in the same request."""
        self._check_open(peer)
        self._poison.check_arrival(cover)
        try:
            answer = await self._offer(peer, cover, content)
        except ProblemError as error:
            await self._note_problem(peer, error)
            raise
        except Exception as error:
            await self._poison.arrival_failed(peer, cover, error)
            raise
        if isinstance(answer, Receipted):  # else it has yet to be opened
            self._poison.arrival_passed(cover)
        return answer

    async def repeated(self, peer: str, cover: bytes) -> None:
        """A cover that was answered from memory, byte for byte as before: its sender may have lost what was stated since, too."""
        transmittal = Transmittal.from_bytes(Cover.from_bytes(cover).transmittal)
        key = arrival_key(transmittal.id, transmittal.sender.org)
        await self._bring_again(key, peer, await self._rooms.ledger.receipts("in", key), self._rooms.clock.now())

    async def offset(self, peer: str, exchange: str, transmittal_digest: str) -> int:
        """How far an upload has come. An upload belongs to (peer, transmittal digest); to anyone else it does not exist."""
        return (await self._upload(peer, exchange, transmittal_digest)).offset

    async def append(self, peer: str, exchange: str, transmittal_digest: str, offset: int, chunks: AsyncIterator[bytes]) -> Answer:
        """Bytes from ``offset`` on."""
        self._check_open(peer)
        key = _upload_key(peer, transmittal_digest)
        running = self._verifying.get(key)
        if running is not None:
            return Pending(state="verifying", offset=0)
        if self._writing.taken(key):
            raise ProblemError("busy", "another request is writing this upload", retryable=True)
        async with self._writing.under(key):
            upload = await self._upload(peer, exchange, transmittal_digest)
            if offset != upload.offset:
                raise ProblemError("offset-mismatch", f"at {upload.offset}, not {offset}", retryable=True, offset=upload.offset)
            self._poison.check_arrival(upload.cover)
            await self._receive(upload, chunks, peer)
            if upload.offset < upload.size:
                return Pending(state="upload", offset=upload.offset)
            task = asyncio.create_task(self._complete(peer, upload), name=f"verify {exchange}")
            self._verifying[key] = task
            task.add_done_callback(lambda _: self._verifying.pop(key, None))
        done, _ = await asyncio.wait({task}, timeout=VERIFY_WITHIN)
        if not done:
            return Pending(state="verifying", offset=upload.size)
        return task.result()

    async def receipts(self, peer: str, receipts: Sequence[SignedReceipt]) -> tuple[ReceiptAnswer, ...]:
        """Receipts about our own exchanges."""
        self._rooms.agenda.wake(peer)
        self._check_dates()
        answers = await self._taking.take_all(peer, receipts)
        if any(answer.code == "signer-not-listed" for answer in answers):
            self.on_unknown_directory()  # a certificate enrolled since our directory was made
        return answers

    def _check_dates(self) -> None:
        """What a receipt moves is dated here. Raises ProblemError."""
        try:
            self._rooms.guard.check_dates(self._rooms.clock.now(), self._rooms.clock.monotonic())
        except ClockUntrusted as error:
            raise ProblemError("clock", str(error), retryable=True) from error

    async def proof(self, peer: str, digest: str) -> tuple[bytes, bytes]:
        """Leaf and inclusion proof of a receipt, for the gateway at the other end of its exchange. Raises ProblemError("not-found")."""
        ledger = self._rooms.ledger
        receipt = await ledger.receipt(digest)
        row = await ledger.exchange(receipt.direction, receipt.exchange) if receipt else None
        if receipt is None or row is None or receipt.leaf is None or peer not in self._parties(row):
            raise ProblemError("not-found", f"no receipt {digest} that is the business of {peer}", retryable=False)
        leaf, checkpoint = await ledger.leaf(receipt.leaf), await ledger.checkpoint_over(receipt.leaf)
        assert leaf is not None
        assert checkpoint is not None
        return leaf, await ledger.proof(receipt.leaf, checkpoint)

    def _parties(self, row: ExchangeRow) -> frozenset[str]:
        directory = self._rooms.standing.directory
        gateways = {gateway.id for passage in row.passages for gateway in directory.gateways_of(passage.recipient)}
        return frozenset({row.sender_gateway, *gateways})

    # ---- the cover

    def _check_open(self, peer: str) -> None:
        """Fail closed: what we cannot judge or keep is not taken in."""
        rooms = self._rooms
        rooms.agenda.wake(peer)
        obstacle = rooms.stopped()
        if obstacle is not None:
            raise ProblemError(obstacle.problem, obstacle.en, retryable=True)

    def _check_level(self, level: str) -> None:
        """The same for the level that came: what is forgiven at one is not at another."""
        obstacle = self._rooms.stopped_at(level)
        if obstacle is not None:
            raise ProblemError(obstacle.problem, obstacle.en, retryable=True)

    def _check_crowded(self, transmittal: Transmittal) -> None:
        """When the disk is getting full, what policy lets wait first waits at its sender's."""
        size = transmittal.content.size if transmittal.content else 0
        obstacle = self._rooms.degraded.crowded(transmittal.level, transmittal.urgency, size)
        if obstacle is not None:
            raise ProblemError(obstacle.problem, obstacle.en, retryable=True)

    async def _offer(self, peer: str, cover_bytes: bytes, content: bytes | None) -> Answer:
        rooms, begun = self._rooms, self._rooms.clock.monotonic()
        now = rooms.clock.now()
        if content is not None and len(content) <= INLINE_CONTENT:
            answer: Answer | None = await self._offer_small(peer, cover_bytes, content, now)
            assert answer is not None
            rooms.gauges.bytes_moved("in", peer, len(content))
            rooms.gauges.latency("accept", rooms.clock.monotonic() - begun)
            return answer
        examined = await rooms.stage_in.run(self._examine, cover_bytes, peer, now)
        if examined.transmittal.kind != "document":
            await self._turn_notice_away(examined.transmittal)
        # 9. duplicate key, looked at only after the signature held
        answer = await self._answer_to_cover(examined, now)
        if answer is not None:
            return answer
        assert examined.transmittal.content is not None
        if content is None:
            return await self._begin_upload(peer, cover_bytes, examined)
        self._check_crowded(examined.transmittal)
        answer = await self._open_and_accept(examined, (content,), _place(content), now)
        rooms.gauges.bytes_moved("in", peer, len(content))
        rooms.gauges.latency("accept", rooms.clock.monotonic() - begun)
        return answer

    async def _offer_small(self, peer: str, cover_bytes: bytes, content: bytes, now: datetime) -> Answer:
        """Cover and content in one hop. A repeat finds its exchange open when it is recorded, and is answered as it was then.

        Check 9 still comes before the word on the content: whatever does not hold is looked up first.
        """
        examined, opened, failure = await self._rooms.stage_in.run(self._examine_and_open, cover_bytes, peer, content, now)
        if examined.transmittal.kind != "document":
            await self._turn_notice_away(examined.transmittal)
        if opened is not None:
            return await self._accept(examined, *opened, now)
        answer = await self._answer_to_cover(examined, now)
        if answer is not None:
            return answer
        assert failure is not None
        return await self._turn_down(examined, (content,), _place(content), failure, now)

    def _examine_and_open(
        self, cover_bytes: bytes, peer: str, content: bytes, now: datetime
    ) -> tuple[Examined, tuple[Opened, Judged, StoredContent] | None, YizhanError | None]:
        examined = self._examine(cover_bytes, peer, now)
        self._check_crowded(examined.transmittal)
        if examined.refusal or examined.hold or examined.transmittal.kind != "document":
            return examined, None, None
        try:
            return examined, self._open(examined, (content,), _place(content), now), None
        except (Refused, HeldBack, ProblemError, NoRoom) as failure:
            return examined, None, failure

    def _examine(self, cover_bytes: bytes, peer: str, now: datetime) -> Examined:
        try:
            cover = Cover.from_bytes(cover_bytes)
        except Malformed as error:
            raise damaged(error) from error
        examined = examine(cover, peer, self._rooms.standing, now)
        try:
            self._rooms.standing.check_signer(examined.suite, now, examined.transmittal.level)
        except CrlStale as error:
            raise ProblemError("crl-stale", str(error), retryable=True) from error
        except LocalError as error:  # a receipt nobody would believe is none: nothing is accepted in this suite
            raise ProblemError("internal", str(error), retryable=True) from error
        self._check_level(examined.transmittal.level)
        return examined

    async def _answer_to_cover(self, examined: Examined, now: datetime) -> Answer | None:
        """What needs no content: a repeat, a refusal, a hold."""
        known = await self._known(examined, now)
        if known is not None:
            return known
        if examined.refusal:
            return await self._refuse(examined, examined.refusal, None, now)
        if examined.hold:
            return await self._hold(examined, examined.hold, now)
        return None

    async def _known(self, examined: Examined, now: datetime) -> Answer | None:
        row = await self._rooms.ledger.exchange("in", examined.key)
        if row is None:
            return None
        if row.transmittal_digest != examined.digest:
            return await self._contradicted(examined, row, now)
        if any(passage.state is State.HELD for passage in row.passages):
            return Pending(state="held", offset=0)
        return Receipted(receipts=await self._answered_then(row, now))

    async def _answered_then(self, row: ExchangeRow, now: datetime) -> tuple[SignedReceipt, ...]:
        """The receipt bytes given when it first came. What was stated since is brought again: who asks may have lost more than one answer."""
        receipts = await self._rooms.ledger.receipts("in", row.key)
        await self._bring_again(row.key, row.sender_gateway, receipts, now)
        first: dict[str, SignedReceipt] = {}
        for receipt in receipts:
            if receipt.event in ANSWERS:
                first.setdefault(receipt.recipient, SignedReceipt(body=receipt.body, signature=receipt.signature))
        return tuple(first.values())

    async def _bring_again(self, key: str, peer: str, receipts: Sequence[ReceiptRow], now: datetime) -> None:
        later = [sending(key, peer, receipt.digest, now) for receipt in receipts if receipt.event not in ANSWERS]
        if later:
            await self._rooms.record(Step(changes=tuple(Schedule(work=work) for work in later)))
            self._rooms.agenda.add_all(later)

    async def _contradicted(self, examined: Examined, row: ExchangeRow, now: datetime) -> Answer:
        """Another transmittal under a key already signed for: refused, both digests in the log, alarm."""
        log.error("exchange %s came again with another transmittal", row.id)
        transmittal = examined.transmittal
        leaves = (
            self._leaves.arrived(LeafKind.CONTRADICTION, now, transmittal, row.transmittal_digest or examined.digest),
            self._leaves.arrived(LeafKind.CONTRADICTION, now, transmittal, examined.digest),
        )
        await self._taking.complaints.record(transmittal.sender.gateway, *leaves)
        raise ProblemError("duplicate-other", f"exchange {row.id} is known with another transmittal", retryable=False)

    async def _turn_notice_away(self, notice: Transmittal) -> NoReturn:
        """Notices take no effect here yet: none is accepted, whoever sends it. Raises ProblemError, final, so that its sender learns."""
        about = notice.refs[0]
        if notice.kind == "feedback":
            original = await self._rooms.ledger.exchange("out", about)
        else:  # only of what the same organisation sent: another's is under another key
            original = await self._rooms.ledger.exchange("in", arrival_key(about, notice.sender.org))
            if original is None and (others := await self._rooms.ledger.beginning(about)):
                raise ProblemError("not-entitled", f"a {notice.kind} about {others[0].key} by {notice.sender.org}", retryable=False)
        if original is not None and original.transmittal is not None:
            try:
                check_notice(notice, Transmittal.from_bytes(original.transmittal))
            except NotEntitled as error:
                raise ProblemError("not-entitled", str(error), retryable=False) from error
        raise ProblemError("notice-not-served", f"a {notice.kind} about {about}: notices are not served here", retryable=False)

    async def _note_problem(self, peer: str, error: ProblemError) -> None:
        self._rooms.gauges.refused(error.problem, peer)
        log.warning("arrival from %s answered %s: %s", peer, error.problem, error)
        if error.problem == "directory-unknown":
            self.on_unknown_directory()
        if error.problem not in TRANSIENT:
            leaf = self._leaves.rejected(self._rooms.clock.now(), peer, error.problem)
            await self._taking.complaints.record(peer, leaf)

    # ---- large content

    async def _begin_upload(self, peer: str, cover: bytes, examined: Examined) -> Answer:
        key = _upload_key(peer, examined.digest)
        assert examined.transmittal.content is not None
        size = examined.transmittal.content.size
        if key in self._verifying:
            return Pending(state="verifying", offset=size)
        try:
            upload = await asyncio.to_thread(self._open_or_begin, key, cover, examined.transmittal, size)
        except NoRoom as error:
            raise ProblemError("no-room", str(error), retryable=True) from error
        except TooManyUploads as error:
            raise ProblemError("too-many", str(error), retryable=True) from error
        return Pending(state="upload", offset=upload.offset)

    def _open_or_begin(self, key: str, cover: bytes, transmittal: Transmittal, size: int) -> Upload:
        upload = self._rooms.uploads.open(key)
        if upload is None:
            self._check_crowded(transmittal)  # what was begun may go on: its room is set aside
            upload = self._rooms.uploads.begin(key, cover, size)
        return upload

    async def _upload(self, peer: str, exchange: str, transmittal_digest: str) -> Upload:
        upload = await asyncio.to_thread(self._rooms.uploads.open, _upload_key(peer, transmittal_digest))
        if upload is None or id_of(_key_of(upload)) != exchange:
            await self._note_foreign(peer, transmittal_digest)
            raise ProblemError("not-found", "no such upload", retryable=False)
        return upload

    async def _note_foreign(self, peer: str, transmittal_digest: str) -> None:
        """To ask after an upload that is not there is ordinary; to ask after another gateway's is not."""
        owners = [upload.key.partition("/")[0] for upload in self._rooms.uploads.all() if upload.key.endswith(f"/{transmittal_digest}")]
        if any(owner != peer for owner in owners):
            log.warning("%s asks after an upload of another gateway", peer)
            self._rooms.gauges.refused("foreign-upload", peer)
            await self._taking.complaints.record(peer, self._leaves.rejected(self._rooms.clock.now(), peer, "foreign-upload"))

    async def _receive(self, upload: Upload, chunks: AsyncIterator[bytes], peer: str) -> None:
        """Write what comes; whatever breaks the stream, all that came is written and synced, so that every attempt gets further."""
        before, gathered, size = upload.offset, [], 0
        try:
            async for chunk in chunks:
                gathered.append(chunk)
                size += len(chunk)
                if size >= WRITE_CHUNK:
                    pieces, gathered, size = gathered, [], 0
                    await asyncio.to_thread(_write, upload, pieces)
        finally:
            await asyncio.shield(asyncio.to_thread(_keep, upload, gathered))
            self._rooms.gauges.bytes_moved("in", peer, upload.offset - before)

    async def _complete(self, peer: str, upload: Upload) -> Answer:
        now = self._rooms.clock.now()
        try:
            examined = await self._rooms.stage_in.run(self._examine, upload.cover, peer, now)
            answer = await self._answer_to_cover(examined, now)  # time went by since the cover came
            if answer is not None:
                await asyncio.to_thread(upload.discard)
                return answer
            return await self._open_and_accept(examined, upload, None, now)
        except ProblemError as error:
            if error.problem == "ciphertext-mismatch":
                await asyncio.to_thread(upload.reset)
            elif not error.retryable:
                await asyncio.to_thread(upload.discard)
            await self._note_problem(peer, error)
            raise
        except Exception as error:
            await self._poison.arrival_failed(peer, upload.cover, error)
            raise

    async def sweep_uploads(self, idle: float) -> tuple[str, ...]:
        """Discard uploads nothing came for so many seconds, or whose exchange is known already; the exchanges."""
        swept = []
        for upload in self._rooms.uploads.all():
            key = _key_of(upload)
            dead = upload.idle() > idle or await self._rooms.ledger.exchange("in", key) is not None
            if not dead or self._writing.taken(upload.key) or upload.key in self._verifying:
                continue
            async with self._writing.under(upload.key):
                await asyncio.to_thread(upload.discard)
            swept.append(id_of(key))
        return tuple(swept)

    # ---- content and the transaction

    async def _open_and_accept(
        self, examined: Examined, source: Sequence[bytes] | Upload, place: StoredContent | None, now: datetime
    ) -> Answer:
        rooms = self._rooms
        try:
            if isinstance(source, tuple):
                opened, stated, kept_at = await rooms.stage_in.run(self._open, examined, source, place, now)
            else:
                opened, stated, kept_at = await self._heavy.run(source.size, self._open, examined, source, None, now)  # type: ignore[union-attr]
        except (Refused, HeldBack, NoRoom) as failure:
            return await self._turn_down(examined, source, place, failure, now)
        return await self._accept(examined, opened, stated, kept_at, now)

    async def _turn_down(
        self, examined: Examined, source: Sequence[bytes] | Upload, place: StoredContent | None, failure: YizhanError, now: datetime
    ) -> Answer:
        """Content that was not accepted: refused under signature, held for a person, or a problem. Raises ProblemError."""
        if isinstance(failure, Refused):
            quarantined = await asyncio.to_thread(_quarantine, source, place)
            return await self._refuse(examined, tuple(failure.facts["reasons"]), quarantined, now)
        if isinstance(failure, HeldBack):
            if not isinstance(source, tuple):
                await asyncio.to_thread(source.discard)  # type: ignore[union-attr]
            return await self._hold(examined, tuple(failure.facts["reasons"]), now)
        if isinstance(failure, NoRoom):
            raise ProblemError("no-room", str(failure), retryable=True) from failure
        raise failure

    def _open(
        self, examined: Examined, source: Sequence[bytes] | Upload, place: StoredContent | None, now: datetime
    ) -> tuple[Opened, Judged, StoredContent]:
        """One hop: checks 10 to 12, the ciphertext in its lasting place, the receipt signed."""
        chunks: Iterator[bytes] = iter(source) if isinstance(source, tuple) else source.read()  # type: ignore[union-attr]
        opened = open_content(examined, chunks, self._rooms.standing, now)
        if place is None:
            place = self._store(examined, source)
        elif place.inline is not None and place.size > INLINE_CONTENT:
            place = self._store_blob(place.inline)
        return opened, self._state(examined, "ContentConsignment", now), place

    def _store(self, examined: Examined, source: Sequence[bytes] | Upload) -> StoredContent:
        assert not isinstance(source, tuple)
        assert examined.transmittal.content is not None
        return StoredContent(size=examined.transmittal.content.size, blob=source.finish())  # type: ignore[union-attr]

    def _store_blob(self, content: bytes) -> StoredContent:
        blob = self._rooms.blobs.create(len(content))
        try:
            blob.write(content)
            return StoredContent(size=len(content), blob=blob.finish())
        except BaseException:
            blob.discard()
            raise

    def _state(self, examined: Examined, event: EventName, now: datetime, reason: str | None = None) -> Judged:
        transmittal = examined.transmittal
        return issue(
            self._rooms.standing,
            examined.suite,
            exchange=transmittal.id,
            recipient=self._rooms.standing.organisation,
            transmittal=examined.digest,
            sealed=transmittal.content.sealed if transmittal.content else None,
            event=event,
            at=now,
            reason=reason,
        )

    async def _accept(self, examined: Examined, opened: Opened, stated: Judged, place: StoredContent, now: datetime) -> Answer:
        rooms, transmittal, key = self._rooms, examined.transmittal, examined.key
        assert examined.clearance is not None
        at = rooms.clock.now()
        if at > transmittal.expires_at:  # opening took its time: ACCEPTED commits only while now is within it
            await self._discard(place)
            return await self._refuse(examined, (explain("expired", expires=transmittal.expires),), None, at)
        hand_over = Work(
            key=f"hand-over:in:{key}",
            kind="hand-over",
            direction="in",
            exchange=key,
            due=now,
            priority=examined.clearance.priority,
            detail=size_note(opened.size),
        )
        private = seal_private(rooms.standing, "in", key, Private(document=opened.manifest.document))
        changes: tuple[Change, ...] = (
            self._sealed(examined, place, opened.key),
            self._kept(examined, stated, now),
            Schedule(work=hand_over),
        )
        leaves = (self._accepted_leaf(examined, now), self._receipt_leaf(examined, stated, now))
        try:
            name = await self._record_named(self._opening(examined, State.ACCEPTED, now, private, transmittal.id), changes, leaves)
        except AlreadyOpen:
            return await self._twin(examined, place, now)
        except NoRoom:
            await self._discard(place)
            raise
        warm = Warm(
            document=opened.manifest.document,
            key=opened.key,
            parts=opened.parts,
            transmittal=transmittal,
            transmittal_digest=examined.digest,
            received=now,
            last_receipt=stated.digest,
            name=name,
        )
        rooms.hot_in.put(key, warm, opened.size if opened.parts is not None else 4096)
        rooms.agenda.add(hand_over)
        rooms.gauges.outcome("in", State.ACCEPTED, transmittal.level, transmittal.sender.gateway)
        return Receipted(receipts=(stated.signed,))

    async def _record_named(self, opening: OpenExchange, changes: tuple[Change, ...], leaves: tuple[Leaf, ...]) -> str:
        """Record an acceptance; the name the office will know it by: the exchange id, unless another sender's exchange has it there."""
        try:
            await self._rooms.record(Step(changes=(opening, *changes), leaves=leaves))
        except NameTaken:
            log.warning("%s sent an exchange under an id that another sender used before: %s", opening.sender_org, opening.id)
            await self._rooms.record(Step(changes=(replace(opening, name=opening.key), *changes), leaves=leaves))
            return opening.key
        return opening.name

    async def _twin(self, examined: Examined, place: StoredContent | None, now: datetime) -> Answer:
        """Its twin was faster; what was answered then is the answer, and this copy of the content is nobody's."""
        await self._discard(place)
        answer = await self._known(examined, now)
        assert answer is not None
        return answer

    async def _discard(self, place: StoredContent | None) -> None:
        if place is not None and place.blob is not None:
            await asyncio.to_thread(self._rooms.blobs.remove, place.blob)

    async def _refuse(self, examined: Examined, reasons: tuple[Reason, ...], place: StoredContent | None, now: datetime) -> Answer:
        """A signed refusal: final. Content that did not hold stays here, sealed, for whoever looks into it."""
        rooms, transmittal = self._rooms, examined.transmittal
        stated = await rooms.stage_in.run(self._state, examined, "ContentConsignmentFailure", now, word(reasons[0].rule))
        kind = LeafKind.QUARANTINED if place is not None else LeafKind.REFUSED
        changes: tuple[Change, ...] = (
            self._opening(examined, State.REFUSED, now, b""),
            self._sealed(examined, place, None),
            self._kept(examined, stated, now),
        )
        leaf = self._leaves.arrived(kind, now, transmittal, examined.digest, reasons)
        try:
            await rooms.record(Step(changes=changes, leaves=(leaf, self._receipt_leaf(examined, stated, now))))
        except AlreadyOpen:
            return await self._twin(examined, place, now)
        except NoRoom:
            await self._discard(place)
            raise
        rooms.gauges.outcome("in", State.REFUSED, transmittal.level, transmittal.sender.gateway)
        for reason in reasons:
            rooms.gauges.refused(reason.rule, transmittal.sender.gateway)
        return Receipted(receipts=(stated.signed,))

    async def _hold(self, examined: Examined, reasons: tuple[Reason, ...], now: datetime) -> Answer:
        """A person must decide; the sender keeps the content and asks again."""
        transmittal = examined.transmittal
        changes = (self._opening(examined, State.HELD, now, b""), self._sealed(examined, None, None))
        leaf = self._leaves.arrived(LeafKind.HELD, now, transmittal, examined.digest, reasons)
        with contextlib.suppress(AlreadyOpen):
            await self._rooms.record(Step(changes=changes, leaves=(leaf,)))
        self._rooms.gauges.outcome("in", State.HELD, transmittal.level, transmittal.sender.gateway)
        return Pending(state="held", offset=0)

    def _kept(self, examined: Examined, stated: Judged, now: datetime) -> KeepReceipt:
        return kept(stated, "in", now, sender_org=examined.transmittal.sender.org)

    def _accepted_leaf(self, examined: Examined, now: datetime) -> Leaf:
        """It says what the decision was forgiven, here and about the sender."""
        assert examined.clearance is not None
        graces = (*examined.clearance.graces, *self._rooms.degraded.graces(examined.transmittal.level))
        return self._leaves.accepted(now, examined.transmittal, examined.digest, graces)

    def _receipt_leaf(self, examined: Examined, stated: Judged, now: datetime) -> Leaf:
        sender = examined.transmittal.sender.org
        return self._leaves.receipt(LeafKind.RECEIPT, now, stated.receipt, stated.digest, "issued", sender=sender)

    def _opening(self, examined: Examined, state: State, now: datetime, private: bytes, name: str = "") -> OpenExchange:
        transmittal = examined.transmittal
        return OpenExchange(
            direction="in",
            id=transmittal.id,
            at=now,
            state=state,
            recipients=tuple(org for org, _ in examined.envelopes),
            level=transmittal.level,
            urgency=transmittal.urgency,
            suite=transmittal.suite,
            sender_org=transmittal.sender.org,
            sender_gateway=transmittal.sender.gateway,
            private=private,
            name=name,
        )

    def _sealed(self, examined: Examined, place: StoredContent | None, key: ContentKey | None) -> KeepSealed:
        return KeepSealed(
            direction="in",
            exchange=examined.key,
            transmittal=examined.transmittal_bytes,
            transmittal_digest=examined.digest,
            nro=examined.nro,
            envelopes=examined.envelopes,
            content=place,
            own_key=keep_key(self._rooms.standing, "in", examined.key, key) if key else b"",
            expires=parse_time(examined.transmittal.expires),
        )


def _place(content: bytes) -> StoredContent:
    return StoredContent(size=len(content), inline=content)


def _quarantine(source: Sequence[bytes] | Upload, place: StoredContent | None) -> StoredContent | None:
    if isinstance(source, tuple):
        return place if place is not None and place.size <= INLINE_CONTENT else None
    return StoredContent(size=source.size, blob=source.finish())  # type: ignore[union-attr]


def _write(upload: Upload, pieces: Sequence[bytes]) -> None:
    for piece in pieces:
        upload.write(piece)


def _keep(upload: Upload, rest: Sequence[bytes]) -> None:
    try:
        _write(upload, rest)
    finally:
        upload.sync()


def _key_of(upload: Upload) -> str:
    transmittal = Transmittal.from_bytes(Cover.from_bytes(upload.cover).transmittal)
    return arrival_key(transmittal.id, transmittal.sender.org)


def _upload_key(peer: str, transmittal_digest: str) -> str:
    return f"{peer}/{transmittal_digest}"
