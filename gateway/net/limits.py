"""How much of us one peer may use: rates, turns and room as pure values, with every figure's reason beside it (docs/limits.md).

A rate slows a peer down and never refuses it: an honest burst with 64 requests in flight waits a moment at most. Only a peer whose requests
keep failing is refused, before anything is spent on it, because verifying signatures is what we have least of. The moment is an argument.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import math
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache

log = logging.getLogger("yizhan.net")

MINUTE = 60.0
STRANGER = "stranger"  # in metrics and log lines: whoever is not a listed gateway
MAX_VISITORS = 4096  # addresses remembered at the door, about 200 bytes each; the one that came longest ago is forgotten first
PACE_PATIENCE = 5.0  # seconds a handshake may be put off: half of what it may take (ListenLimits.handshake_seconds)
MAX_KNOWN = 1024  # addresses a listed gateway was seen at: far more than there are gateways


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """So many a second on the whole, and so many at once."""

    per_second: float
    burst: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRates:
    """What one peer may ask of us in a second; a request beyond it waits, except where it says so."""

    requests: Rate = Rate(per_second=500, burst=1000)  # four times what two cores carry; a request that asks for nothing costs 0.3 ms
    exchanges: Rate = Rate(per_second=200, burst=400)  # above what one process can verify and keep (125 a second measured)
    repeats: Rate = Rate(per_second=20, burst=128)  # a cut line with 64 in flight repeats 64, twice over
    receipts: Rate = Rate(per_second=1000, burst=4000)  # several an exchange, up to 1,000 in a frame
    bytes: Rate = Rate(per_second=256 * 1024 * 1024, burst=64 * 1024 * 1024)  # more than one stage can decrypt (SM4-GCM: 127 MB/s)
    failures: Rate = Rate(
        per_second=2, burst=128
    )  # two full rounds of 64 in flight under a certificate we have not heard of yet. Beyond it: refused
    penalty_seconds: float = 1.0  # a refusal for failures is given so late: whoever asks again at once, asks at this pace
    penalty_apart_seconds: float = 0.02  # … and one by one: 64 that wait would wake in one moment, and everybody else behind them
    patience_seconds: float = 5.0  # the longest wait for a rate; a debt beyond it is forgiven rather than a connection held longer
    at_once: int = 16  # of one peer being verified: what a gateway of ours opens, and one batch of a stage
    at_once_at_first: int = 4  # … until requests of it held, one more for each: an attack from a standing start meets no open door
    in_doubt_after: float = 0.125  # of its failures used up: 16, before an attack from a standing start has cost a tenth of a second
    at_once_in_doubt: int = 1  # … then: a request of somebody else waits behind one of its acts, not sixteen
    rest_in_doubt_seconds: float = (
        0.05  # … and before each: an act is 3 to 10 ms of a stage and a sync of the disk, so others have most of both
    )
    body_memory: int = 16 * 1024 * 1024  # larger bodies of one peer being read together, and two copies for a moment; others wait unread


def peer_rates(*, requests: float, exchanges: float, mib: float, failures_a_minute: float) -> PeerRates:
    """The rates with those figures a gateway.toml may set; bursts of two seconds for requests and exchanges, a quarter for bytes."""
    return replace(
        PeerRates(),
        requests=Rate(per_second=requests, burst=2 * requests),
        exchanges=Rate(per_second=exchanges, burst=2 * exchanges),
        bytes=Rate(per_second=mib * 1024 * 1024, burst=mib * 1024 * 256),
        failures=replace(PeerRates().failures, per_second=failures_a_minute / MINUTE),
    )


class Bucket:
    """Tokens that come back at a rate. Not thread-safe; times must not go back."""

    __slots__ = ("_at", "_rate", "_tokens")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._tokens = rate.burst
        self._at = now

    def _refill(self, now: float) -> None:
        self._tokens = min(self._rate.burst, self._tokens + (now - self._at) * self._rate.per_second)
        self._at = now

    def take(self, count: float, now: float) -> bool:
        """Take so many, when they are there."""
        self._refill(now)
        if self._tokens < count:
            return False
        self._tokens -= count
        return True

    def owe(self, count: float, now: float, longest: float) -> float:
        """Take so many in any case; the seconds until the debt is paid. What would take more than ``longest`` seconds is forgiven."""
        self._refill(now)
        self._tokens = max(self._tokens - count, -longest * self._rate.per_second)
        return max(0.0, -self._tokens / self._rate.per_second)

    def share(self, now: float) -> float:
        """How full it is: 1 full, 0 or less empty."""
        self._refill(now)
        return self._tokens / self._rate.burst

    def wait(self, now: float) -> float:
        """Seconds until one token is there."""
        self._refill(now)
        return max(0.0, (1.0 - self._tokens) / self._rate.per_second)


class Allowance:
    """What is left of one peer's rates."""

    __slots__ = ("_buckets", "_failures", "_places", "_rates", "_refusal")

    def __init__(self, rates: PeerRates, now: float) -> None:
        self._rates = rates
        self._refusal = -math.inf  # when the last one is given
        self._places = rates.at_once_at_first
        self._failures = Bucket(rates.failures, now)
        self._buckets: dict[str, Bucket] = {}

    def pause(self, limit: str, count: float, now: float) -> float:
        """Use so much of the rate of that name; the seconds the peer has to wait for it."""
        bucket = self._buckets.get(limit)
        if bucket is None:
            bucket = self._buckets[limit] = Bucket(getattr(self._rates, limit), now)
        return bucket.owe(count, now, self._rates.patience_seconds)

    def failed(self, count: float, now: float) -> None:
        """Requests of the peer did not hold, whatever else they were."""
        self._failures.owe(count, now, MINUTE)  # nobody is shut out for longer than a minute after the last failure
        if self.in_doubt(now):
            self._places = self._rates.at_once_at_first

    def held(self) -> None:
        """A request of the peer held: it may have one more of them worked on together."""
        self._places = min(self._places + 1, self._rates.at_once)

    def barred(self, now: float) -> int:
        """Seconds for which the peer is refused; 0 while it is not."""
        wait = self._failures.wait(now)
        return math.ceil(wait)

    def penalty(self, now: float) -> float:
        """Seconds after which the next refusal is given: late, and a little after the one before."""
        self._refusal = max(now + self._rates.penalty_seconds, self._refusal + self._rates.penalty_apart_seconds)
        return self._refusal - now

    def in_doubt(self, now: float) -> bool:
        """Whether so much of the peer's failed lately that it is worked for slowly."""
        return self._failures.share(now) <= 1 - self._rates.in_doubt_after

    def at_once(self, now: float) -> int:
        """How many of the peer's requests may be worked on together."""
        return self._rates.at_once_in_doubt if self.in_doubt(now) else self._places

    def rest(self, now: float) -> float:
        """Seconds before each act of the peer's."""
        return self._rates.rest_in_doubt_seconds if self.in_doubt(now) else 0.0


class Turns:
    """Acts of one peer that cost us much, so many at a time; the others stand in its own line and in nobody else's way."""

    def __init__(self) -> None:
        self._busy: dict[str, int] = {}
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}

    async def begin(self, peer: str, most: int) -> None:
        """Wait for a turn."""
        busy = self._busy.get(peer, 0)
        if busy >= most or peer in self._lines:
            line = self._lines.setdefault(peer, deque())
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            line.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.end(peer, most)  # it came at the same moment: to the next
                elif turn in line:
                    line.remove(turn)
                    self._forget(peer, line)
                raise
            return
        self._busy[peer] = busy + 1

    def end(self, peer: str, most: int) -> None:
        """A turn is over: the next in the peer's line has it."""
        busy = self._busy[peer] - 1
        line = self._lines.get(peer)
        while line and busy < most:
            turn = line.popleft()
            if not turn.done():  # else its asker was cancelled a moment ago and has not heard of it yet
                busy += 1
                turn.set_result(None)
        if line is not None:
            self._forget(peer, line)
        if busy:
            self._busy[peer] = busy
        else:
            self._busy.pop(peer, None)

    def _forget(self, peer: str, line: deque[asyncio.Future[None]]) -> None:
        if not line and self._lines.get(peer) is line:
            del self._lines[peer]


class BodyRoom:
    """Memory for the larger request bodies of each peer: who finds none waits with the body still in the socket."""

    SMALL = 64 * 1024  # not counted: 32 connections with so much each are 2 MiB

    def __init__(self, most: int) -> None:
        self._most = most
        self._used: dict[str, int] = {}
        self._freed: dict[str, asyncio.Event] = {}

    @asynccontextmanager
    async def holding(self, peer: str, size: int) -> AsyncIterator[None]:
        """Room for so many bytes, when there is some; a body larger than all of it comes alone."""
        while self._used.get(peer, 0) and self._used[peer] + size > self._most:
            await self._freed.setdefault(peer, asyncio.Event()).wait()
        self._used[peer] = self._used.get(peer, 0) + size
        try:
            yield
        finally:
            self._used[peer] -= size
            if not self._used[peer]:
                del self._used[peer]
            freed = self._freed.pop(peer, None)
            if freed is not None:
                freed.set()


# ---- the door --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorLimits:
    """Who may begin a TLS handshake: judged by the address alone, before any of it is computed."""

    of_address: Rate = Rate(per_second=20, burst=64)  # a gateway opens 16 and keeps them; 64: four of them behind one address, at once
    of_strangers: Rate = Rate(per_second=100, burst=256)  # all addresses no listed gateway was seen at: 100 handshakes are 5 % of a core
    half_open_of_address: int = 32  # a handshake takes two round trips; a gateway begins 16 at a time
    computed_at_once: int = 16  # of an address a listed gateway was seen at: what one opens
    computed_at_once_for_strangers: int = (
        4  # of any other address: a burst of 64 handshakes would hold the loop up for as many milliseconds
    )
    pace: Rate = Rate(per_second=100, burst=16)  # of an address a listed gateway was seen at; beyond it they are computed one by one …
    pace_of_strangers: Rate = Rate(
        per_second=100, burst=2
    )  # … and of all others together: a handshake is 2 ms in which nobody else is heard
    half_open: int = 256  # of all strangers: with 512 open connections still below the usual 1,024 descriptors of a process


@dataclass(slots=True)
class _Visitor:
    bucket: Bucket
    pace: Bucket
    shaking: int = 0  # handshakes in progress
    strange: int = 0  # of them, those that count among the strangers'


class Doorkeeper:
    """Says who may begin a handshake. An address where a listed gateway was seen does not compete with strangers."""

    def __init__(self, limits: DoorLimits) -> None:
        self._limits = limits
        self._visitors: OrderedDict[str, _Visitor] = OrderedDict()
        self._known: OrderedDict[str, None] = OrderedDict()
        self._strangers: Bucket | None = None
        self._pace_of_strangers: Bucket | None = None
        self._shaking_strangers = 0

    def enter(self, address: str, now: float) -> str:
        """Begin a handshake: empty, or the name of the limit that forbids it. What began ends with ``left``."""
        place = neighbourhood(address)
        visitor = self._visitor(place, now)
        if visitor.shaking >= self._limits.half_open_of_address:
            return "unfinished"
        if not visitor.bucket.take(1, now):
            return "handshakes"
        if place not in self._known:
            if self._shaking_strangers >= self._limits.half_open:
                return "unfinished"
            if self._strangers is None:
                self._strangers = Bucket(self._limits.of_strangers, now)
            if not self._strangers.take(1, now):
                return "handshakes"
            visitor.strange += 1
            self._shaking_strangers += 1
        visitor.shaking += 1
        return ""

    def left(self, address: str) -> None:
        """A handshake is over, however it ended."""
        visitor = self._visitors[neighbourhood(address)]
        visitor.shaking -= 1
        if visitor.strange:
            visitor.strange -= 1
            self._shaking_strangers -= 1

    def pause(self, address: str, now: float) -> float:
        """Seconds to wait before this handshake is computed, so that many come one by one and others are heard in between."""
        place = neighbourhood(address)
        if place in self._known:
            return self._visitor(place, now).pace.owe(1, now, PACE_PATIENCE)
        if self._pace_of_strangers is None:
            self._pace_of_strangers = Bucket(self._limits.pace_of_strangers, now)
        return self._pace_of_strangers.owe(1, now, PACE_PATIENCE)

    def computed_at_once(self, address: str) -> int:
        """How many handshakes of that address may be computed together; the others that may begin stand in line."""
        known = neighbourhood(address) in self._known
        return self._limits.computed_at_once if known else self._limits.computed_at_once_for_strangers

    def seen(self, address: str) -> None:
        """A listed gateway came from there."""
        place = neighbourhood(address)
        self._known[place] = None
        self._known.move_to_end(place)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def _visitor(self, place: str, now: float) -> _Visitor:
        visitor = self._visitors.get(place)
        if visitor is None:
            visitor = self._visitors[place] = _Visitor(Bucket(self._limits.of_address, now), Bucket(self._limits.pace, now))
            if len(self._visitors) > MAX_VISITORS:
                self._drop_oldest()
        self._visitors.move_to_end(place)
        return visitor

    def _drop_oldest(self) -> None:
        oldest = next((place for place, visitor in self._visitors.items() if not visitor.shaking), None)
        if oldest is not None:
            del self._visitors[oldest]


@lru_cache(maxsize=MAX_VISITORS)
def neighbourhood(address: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 an IPv6 address stands in, for its owner has all of it."""
    try:
        number = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(number, ipaddress.IPv6Address):
        mapped = number.ipv4_mapped
        return str(mapped) if mapped is not None else str(ipaddress.ip_network((number, 64), strict=False).network_address)
    return str(number)


# ---- what is said about it -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Said:
    at: float
    since: int = 0


@dataclass(slots=True)
class Notices:
    """One line a minute for each peer and limit; what happened in between is counted in the next."""

    _said: dict[tuple[str, str], _Said] = field(default_factory=dict)

    def note(self, peer: str, limit: str, now: float) -> None:
        """This limit held this peer back once more. ``peer`` is a listed gateway or ``STRANGER``."""
        said = self._said.get((peer, limit))
        if said is None:
            log.warning("%s: held back by the limit on %s; told once a minute", peer, limit)
            self._said[peer, limit] = _Said(now)
        elif now - said.at >= MINUTE:
            log.warning("%s: held back by the limit on %s, %d times since it was last told", peer, limit, said.since + 1)
            self._said[peer, limit] = _Said(now)
        else:
            said.since += 1

    def may_speak(self, peer: str, now: float, lines: int = 20) -> bool:
        """Whether one more line about a failed request of this peer goes into the log: twenty a minute show well enough what it does."""
        said = self._said.get((peer, ""))
        if said is None or now - said.at >= MINUTE:
            if said is not None and said.since > lines:
                log.info("%s: %d more problems within a minute than are told", peer, said.since - lines)
            said = self._said[peer, ""] = _Said(now)
        said.since += 1
        return said.since <= lines
