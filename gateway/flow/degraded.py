"""What is away now, since when, and how long each level may go on: the one place that knows (docs/policy.md, Degraded).

Facts that speak for themselves (a list's next update, a directory's end, a certificate's) are read afresh; of what only silence tells
(a time authority, a peer) the begin is remembered, by ``degraded_log`` beyond a restart. Nothing here waits or writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from crypto.certificates import Certificate, ChainCache, CrlStale, Purpose
from crypto.errors import KeyUnusable, LocalError, Unverified
from crypto.suites import suite_named
from gateway.core.directory import Directory, parse_certificate_text
from gateway.core.errors import NoRoom, Unreachable
from gateway.core.policy import Handling, Lapse, Mode
from gateway.core.policy.degraded import LONGEST_CRL_GRACE, Allowance
from gateway.core.urgency import URGENCIES
from gateway.flow.clockguard import TOLERANCE, ClockGuard, ClockUntrusted
from gateway.flow.ports import Answer, Blobs, Clock, Link, Parcel, ReceiptAnswer, SignedReceipt, TokenSource
from gateway.flow.standing import NotInForce, Standing

BELIEF_SECONDS = 0.25  # what certificates, lists and directory say is asked anew after this: it is asked for each document
STEP = 1.0  # seconds by which the clock may differ from its own course before what was judged by it is judged again
MAX_SILENT_PEERS = 64  # a broken uplink silences everybody at once; the first of them tell it
HURRIED = URGENCIES["immediate"].rank  # from this urgency on nothing waits because a disk is getting full


class AwayTooLong(LocalError):
    """What is away has been away for longer than policy lets a level go on. Facts: ``mode``, ``since``."""

    code = "away-too-long"


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """One thing that forbids taking and accepting: a word for operators, the problem word a peer hears, and text for people."""

    code: str
    problem: str
    zh: str
    en: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """One level while something is away. ``until`` None: no time is running out. ``stopped``: it is over, or there never was a grace."""

    level: str
    until: datetime | None
    left: float | None  # seconds, by a clock that only goes forward
    stopped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """Something that is away: which suite's authority, key, or which peer; the levels it concerns."""

    mode: Mode
    subject: str
    since: datetime
    stands: tuple[Stand, ...]


@dataclass(slots=True)
class _Belief:
    """What was found for a level, and what it was found from."""

    key: tuple[object, ...]
    until: float
    offset: float
    obstacles: tuple[Obstacle, ...]
    graces: tuple[Mode, ...]


@dataclass(slots=True)
class Degraded:
    """Asked by arrivals and the tray for each document, by operators now and then."""

    standing: Standing
    clock: Clock
    guard: ClockGuard
    blobs: Blobs
    suites: Sequence[str]  # those that have a time authority
    _since: dict[tuple[Mode, str], datetime] = field(default_factory=dict)  # of what is away and has no date of its own
    _beliefs: dict[str, _Belief] = field(default_factory=dict)
    _authorities: tuple[Directory, tuple[Certificate, ...]] | None = None
    _moment: tuple[datetime, float] | None = None

    # ---- what only silence tells

    def restore(self, since: Mapping[tuple[Mode, str], datetime], seen: datetime | None) -> None:
        """What was away when this gateway last looked stays away until it is seen again."""
        self._since.update(since)
        now = self.clock.now()
        self._moment = (max(now, seen) if seen else now, self.clock.monotonic())

    def silent(self, mode: Mode, subject: str) -> None:
        """It did not answer."""
        if mode != "peer-away" or sum(each == mode for each, _ in self._since) < MAX_SILENT_PEERS:
            self._begun(mode, subject, self.moment())

    def _begun(self, mode: Mode, subject: str, moment: datetime) -> datetime:
        """When it began, if only now then at this moment: to the millisecond, which is how it is kept."""
        return self._since.setdefault((mode, subject), moment.replace(microsecond=moment.microsecond // 1000 * 1000))

    def heard(self, mode: Mode, subject: str) -> None:
        """It answered."""
        self._since.pop((mode, subject), None)

    @property
    def silent_authorities(self) -> tuple[str, ...]:
        """The suites whose time authority does not answer."""
        return tuple(subject for mode, subject in self._since if mode == "time-authority")

    def time_lapse(self, level: str | None) -> Lapse | None:
        """Since when no time authority answers in any suite this level may use; None where one does."""
        if not self._since:
            return None
        handling = self.standing.policy.handling(level or "")
        suites = [suite for suite in self.suites if handling is None or suite in handling.suites]
        since = [self._since.get(("time-authority", suite)) for suite in suites]
        known = [moment for moment in since if moment is not None]
        return Lapse(mode="time-authority", since=max(known)) if known and len(known) == len(since) else None

    # ---- time

    def moment(self) -> datetime:
        """Now, as countdowns count: the clock's while it is confirmed, else the last such moment carried on. Never goes back by a step."""
        now, mono = self.clock.now(), self.clock.monotonic()
        if self._moment is None:
            self._moment = (now, mono)
        last, then = self._moment
        carried = last + timedelta(seconds=max(0.0, mono - then))
        if self.guard.good(now, mono):
            carried = max(now, carried) if carried - now <= TOLERANCE else now
        self._moment = (carried, mono)
        return carried

    # ---- obstacles

    def obstacles(self, level: str) -> tuple[Obstacle, ...]:
        """What certificates, lists and directory forbid at that level, from memory for a fraction of a second."""
        return self.believed(level, self.clock.now(), self.clock.monotonic())

    def believed(self, level: str, now: datetime, mono: float) -> tuple[Obstacle, ...]:
        """The same for whoever read the clocks already."""
        return self._believe(level, now, mono).obstacles

    def graces(self, level: str) -> tuple[Mode, ...]:
        """What is away here and forgiven at that level, by the same look."""
        return self._believe(level, self.clock.now(), self.clock.monotonic()).graces

    def forgiven(self, level: str | None, chains: ChainCache, at: datetime) -> tuple[Lapse, ...]:
        """What a decision about an offer has to be forgiven, ``chains`` being those it looked at recipients by.

        Raises NotInForce, CrlStale, AwayTooLong where the level may not go on: the offer waits, for a hold would need a person.
        """
        standing = self.standing
        standing.check_directory(at, level, chains)
        self._touch_signers(self._suites_of(level), chains, at)
        lapse = self.time_lapse(level)
        if lapse is None:
            return standing.lapses(chains, at)
        handling = standing.policy.handling(level or "")
        required = handling is None or handling.timestamp_required
        if not standing.policy.allowance(level).permits(lapse, at, timestamp_required=required):
            raise AwayTooLong(f"no time authority has answered since {lapse.since}", mode=lapse.mode, since=lapse.since)
        return (*standing.lapses(chains, at), lapse)

    def _believe(self, level: str, now: datetime, mono: float) -> _Belief:
        standing = self.standing
        key = (standing.policy, standing.directory, standing.directory.expires, standing.chains, len(standing.signers))
        offset, known = now.timestamp() - mono, self._beliefs.get(level)
        if known is None or mono > known.until or abs(offset - known.offset) > STEP or key != known.key:
            chains = standing.chains_at(level)
            obstacles = tuple(self._disbeliefs(level, chains, now))
            graces = () if obstacles else tuple(lapse.mode for lapse in standing.lapses(chains, now))
            known = _Belief(key, mono + BELIEF_SECONDS, offset, obstacles, graces)
            self._beliefs[level] = known
        return known

    def forget(self) -> None:
        """Something changed that no key above shows: judge again."""
        self._beliefs.clear()

    def clock_obstacle(self, level: str) -> Obstacle | None:
        """Whether our clock may be believed at that level."""
        try:
            self.guard.check(self.clock.now(), self.clock.monotonic(), self.standing.policy.allowance(level).clock_confirmation)
        except ClockUntrusted as error:
            return Obstacle(code="clock", problem="clock", zh="时钟未经时间戳机构确认", en=str(error))
        return None

    def untaken(self, level: str | None, urgency: str, size: int) -> Obstacle | None:
        """What makes an offer of that kind wait in the tray beside what forbids its level: no token to be had, or its size."""
        lapse, allowance = self.time_lapse(level), self.standing.policy.allowance(level)
        handling = self.standing.policy.handling(level or "")
        required = handling is None or handling.timestamp_required
        if lapse is not None and not allowance.permits(lapse, self.clock.now(), timestamp_required=required):
            return Obstacle(
                code="time-authority", problem="busy", zh="时间戳机构不可用", en=f"no time authority has answered since {lapse.since}"
            )
        return self.crowded(level, urgency, size)

    def crowded(self, level: str | None, urgency: str, size: int) -> Obstacle | None:
        """Whether a document of that kind waits first because the disk is getting full."""
        disk = self.standing.policy.allowance(level).disk
        if not disk.large_waits and not disk.routine_waits:
            return None
        free, pace = self.blobs.free(), URGENCIES.get(urgency)
        if disk.waits(free=free, size=size, routine=pace is None or pace.rank < HURRIED):
            return Obstacle(
                code="disk-low",
                problem="no-room",
                zh="磁盘空间偏低，此类公文先行等待",
                en=f"{free} bytes free: documents like this one wait first",
            )
        return None

    def _disbeliefs(self, level: str, chains: ChainCache, now: datetime) -> Iterator[Obstacle]:
        """What keeps us from judging others at this level, or others from believing us."""
        standing = self.standing
        try:
            standing.check_directory(now, level, chains)
            self._check_authorities(chains, now)
            ours = self._suites_of(level)
            unusable = [error for suite in ours if (error := self._signer_trouble(suite, now, level)) is not None]
            self._touch_signers(ours, chains, now)
        except CrlStale as error:
            yield Obstacle(code="crl-stale", problem="crl-stale", zh="吊销列表已过期", en=str(error))
        except NotInForce as error:
            yield Obstacle(code="directory-expired", problem="directory-expired", zh="交换目录未生效", en=str(error))
        else:
            if unusable and len(unusable) == len(ours):  # else only its own suite stops: where it would sign
                yield Obstacle(code="signer", problem="internal", zh="本单位签名证书不可用", en=str(unusable[0]))

    def _touch_signers(self, suites: Sequence[str], chains: ChainCache, now: datetime) -> None:
        """So that ``chains`` tells whether our own certificates had to be forgiven a list."""
        for suite in suites:
            with suppress(Unverified):  # told already
                chains.verify(self.standing.signers[suite].certificate, at=now, now=now, purpose=Purpose.SIGN)

    def _suites_of(self, level: str | None) -> tuple[str, ...]:
        """The suites of our keys this level may use; all of ours where it may use none of them, for then policy refuses anyway."""
        handling = self.standing.policy.handling(level or "")
        ours = tuple(self.standing.signers)
        return tuple(suite for suite in ours if handling is not None and suite in handling.suites) or ours

    def _signer_trouble(self, suite: str, now: datetime, level: str | None) -> KeyUnusable | None:
        try:
            self.standing.check_signer(suite_named(suite), now, level)
        except KeyUnusable as error:
            return error
        return None

    def _check_authorities(self, chains: ChainCache, now: datetime) -> None:
        """Whether some time authority's tokens could be judged. Raises CrlStale: every token would be turned away."""
        stale: CrlStale | None = None
        for certificate in self._time_certificates():
            try:
                chains.verify(certificate, at=now, now=now, purpose=Purpose.TIME_STAMP)
            except CrlStale as error:
                stale = error
            except Unverified:
                continue  # something else is wrong with it, which fresh lists would not mend
            else:
                return
        if stale is not None:
            raise stale

    def _time_certificates(self) -> tuple[Certificate, ...]:
        directory = self.standing.directory
        if self._authorities is None or self._authorities[0] is not directory:
            texts = [text for entry in directory.time_authorities for text in entry.certificates]
            found = (parse_certificate_text(text) for text in texts)
            ours = tuple(certificate for certificate in found if certificate.suite and certificate.suite.id in self.standing.signers)
            self._authorities = directory, ours
        return self._authorities[1]

    # ---- everything, for operators

    def absences(self) -> tuple[Absence, ...]:
        """All that is away now."""
        now, moment = self.clock.now(), self.moment()
        found = (
            *self._silent_authorities(now, moment),
            *self._stale(now, moment),
            *self._expired(now, moment),
            *self._keys(now),
            *self._disk(moment),
            *self._unconfirmed(),
            *self._silent_peers(moment),
        )
        there = {(each.mode, each.subject) for each in found}
        for key in [key for key in self._since if key[0] in ("crl-stale", "directory-expired", "key-away", "disk-low", "clock")]:
            if key not in there:
                del self._since[key]
        return found

    def _handlings(self) -> list[Handling]:
        return sorted(self.standing.policy.levels.values(), key=lambda handling: handling.level.rank)

    def _stand(self, handling: Handling, lapse: Lapse, now: datetime, moment: datetime) -> Stand:
        until = self._allowance(handling).until(lapse, timestamp_required=handling.timestamp_required)
        if lapse.mode == "time-authority":  # the clock it confirmed last is believed no longer than that
            confirmed = self.guard.confirmed
            until = min(until, lapse.since if confirmed is None else confirmed + self._allowance(handling).clock_confirmation)
        left = max(0.0, (until - max(moment, lapse.since)).total_seconds())
        return Stand(level=handling.level.id, until=until, left=left, stopped=now > until)

    def _allowance(self, handling: Handling) -> Allowance:
        return self.standing.policy.allowance(handling.level.id)

    def _silent_authorities(self, now: datetime, moment: datetime) -> Iterator[Absence]:
        for suite in self.silent_authorities:
            since = self._since["time-authority", suite]
            touched = [each for each in self._handlings() if self.time_lapse(each.level.id) is not None and suite in each.suites]
            lapse = Lapse(mode="time-authority", since=since)
            yield Absence(
                mode="time-authority", subject=suite, since=since, stands=tuple(self._stand(each, lapse, now, moment) for each in touched)
            )

    def _stale(self, now: datetime, moment: datetime) -> Iterator[Absence]:
        standing = self.standing
        chains = standing.chains.within(LONGEST_CRL_GRACE)
        ours = [(signer.certificate, Purpose.SIGN) for signer in standing.signers.values()]
        over: list[datetime] = []
        for certificate, purpose in ((standing.directory.authority, Purpose.DIRECTORY), *ours):
            try:
                chains.verify(certificate, at=now, now=now, purpose=purpose)
            except CrlStale as error:
                over.append(self._stale_since(error, now))
            except Unverified:
                continue
        try:
            self._check_authorities(chains, now)
        except CrlStale as error:
            over.append(self._stale_since(error, now))
        over += [] if chains.stale_since is None else [chains.stale_since]
        if over:
            lapse = Lapse(mode="crl-stale", since=min(over))
            yield self._for_everybody(lapse, now, moment)

    def _stale_since(self, error: CrlStale, now: datetime) -> datetime:
        """When the list ran out; of one we never had, when we first missed it, long ago enough for no grace to cover it."""
        next_update = error.facts.get("next_update")
        if isinstance(next_update, datetime) and next_update <= now:
            return next_update
        return self._begun("crl-stale", "", self.moment() - LONGEST_CRL_GRACE)

    def _expired(self, now: datetime, moment: datetime) -> Iterator[Absence]:
        directory = self.standing.directory
        if now >= directory.expires:
            yield self._for_everybody(Lapse(mode="directory-expired", since=directory.expires), now, moment)
            return
        try:
            self.standing.check_directory(now, None, self.standing.chains.within(LONGEST_CRL_GRACE))
        except CrlStale:
            return  # told as such
        except NotInForce:
            yield self._without_grace("directory-expired", "", self._handlings())

    def _for_everybody(self, lapse: Lapse, now: datetime, moment: datetime) -> Absence:
        stands = tuple(self._stand(each, lapse, now, moment) for each in self._handlings())
        return Absence(mode=lapse.mode, subject="", since=lapse.since, stands=stands)

    def _without_grace(self, mode: Mode, subject: str, touched: Sequence[Handling], since: datetime | None = None) -> Absence:
        began = since or self._begun(mode, subject, self.moment())
        stands = tuple(Stand(level=each.level.id, until=began, left=0.0, stopped=True) for each in touched)
        return Absence(mode=mode, subject=subject, since=began, stands=stands)

    def _keys(self, now: datetime) -> Iterator[Absence]:
        away: dict[str, datetime | None] = {}
        for suite, signer in self.standing.signers.items():
            try:
                trouble = self._signer_trouble(suite, now, None)
            except CrlStale:
                continue  # told as such; the key may be well
            if trouble is not None:
                ended = signer.certificate.not_after
                away[suite] = ended if ended < now else None
        for suite, since in away.items():
            touched = [each for each in self._handlings() if suite in each.suites and set(self._suites_of(each.level.id)) <= away.keys()]
            yield self._without_grace("key-away", suite, touched, since)

    def _disk(self, moment: datetime) -> Iterator[Absence]:
        try:
            self.blobs.check_room()
        except NoRoom:
            yield self._without_grace("disk-low", "", self._handlings())
            return
        free = self.blobs.free()
        touched = [each for each in self._handlings() if free < max(_thresholds(self._allowance(each)))]
        if touched:
            since = self._begun("disk-low", "", moment)
            stands = tuple(Stand(level=each.level.id, until=None, left=None, stopped=False) for each in touched)
            yield Absence(mode="disk-low", subject="", since=since, stands=stands)

    def _unconfirmed(self) -> Iterator[Absence]:
        touched = [each for each in self._handlings() if self.clock_obstacle(each.level.id) is not None]
        if touched:
            yield self._without_grace("clock", "", touched)

    def _silent_peers(self, moment: datetime) -> Iterator[Absence]:
        for (mode, peer), since in list(self._since.items()):
            if mode != "peer-away":
                continue
            touched = [each for each in self._handlings() if moment - since >= self._allowance(each).peer_warn_after]
            if touched:
                yield Absence(mode=mode, subject=peer, since=since, stands=tuple(self._silence(each, since, moment) for each in touched))

    def _silence(self, handling: Handling, since: datetime, moment: datetime) -> Stand:
        """A silent peer stops no level; what runs out is the time before it is an alarm."""
        until = since + self._allowance(handling).peer_escalate_after
        return Stand(level=handling.level.id, until=until, left=max(0.0, (until - moment).total_seconds()), stopped=False)


def _thresholds(allowance: Allowance) -> tuple[int, int]:
    return allowance.disk.large_waits, allowance.disk.routine_waits


# ---- listening -------------------------------------------------------------------------------------------------------------------


class HeardLink:
    """A link that tells which peers answer."""

    def __init__(self, link: Link, degraded: Degraded) -> None:
        self._link = link
        self._degraded = degraded

    async def send(self, gateway: str, parcel: Parcel) -> Answer:
        """As the link."""
        try:
            answer = await self._link.send(gateway, parcel)
        except Exception as error:
            self._note(gateway, error)
            raise
        self._degraded.heard("peer-away", gateway)
        return answer

    async def send_receipts(self, gateway: str, receipts: Sequence[SignedReceipt]) -> tuple[ReceiptAnswer, ...]:
        """As the link."""
        try:
            answers = await self._link.send_receipts(gateway, receipts)
        except Exception as error:
            self._note(gateway, error)
            raise
        self._degraded.heard("peer-away", gateway)
        return answers

    def _note(self, gateway: str, error: Exception) -> None:
        """A problem is an answer, too."""
        if isinstance(error, Unreachable):
            self._degraded.silent("peer-away", gateway)
        else:
            self._degraded.heard("peer-away", gateway)


class HeardAuthority:
    """A time authority that tells when it is silent. That it answers is believed only of a token that was verified."""

    def __init__(self, source: TokenSource, suite: str, degraded: Degraded) -> None:
        self._source = source
        self._suite = suite
        self._degraded = degraded

    async def respond(self, request: bytes) -> bytes:
        """As the source."""
        try:
            return await self._source.respond(request)
        except Unreachable:
            self._degraded.silent("time-authority", self._suite)
            raise
