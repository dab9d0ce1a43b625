"""What happens by the clock: proving it against a time authority, stamping checkpoints, expiry, newer directories and CRLs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial

from crypto.errors import LocalError, RemoteError
from crypto.randomness import random_bytes
from crypto.suites import suite_named
from crypto.timestamps import make_request, token_from_response, verify_token
from gateway.core.canonical import parse_time
from gateway.core.exchange import State
from gateway.core.leaf import Leaf, LeafKind
from gateway.core.step import Keep, Step
from gateway.flow.clockguard import AUTHORITY
from gateway.flow.delivering import OPEN, Delivering
from gateway.flow.handover import HandOver
from gateway.flow.leaves import Leaves
from gateway.flow.ports import CheckpointRow
from gateway.flow.rooms import Rooms
from gateway.flow.standing import AbsentSigner

log = logging.getLogger("yizhan.watching")

STAMP_EVERY = 50.0  # seconds; a receipt's trusted time is the first token above it, due within 60
EXPIRE_EVERY = 30.0
LOOKED_AGAIN = timedelta(hours=1)  # what was handed over while it ran out is found by a later look
EXPIRY_LIMIT = 1000  # of one question; what is beyond it comes with the next look
EXPIRY_GRACE = timedelta(minutes=10)  # a consignment dated within ``expires`` may still be on its way
CLOCK_RETRY = 5.0  # seconds between attempts while our clock is not confirmed


class Watching:
    """The tasks that run by the clock; each pass is one short act that may fail and is tried at the next."""

    def __init__(self, rooms: Rooms, delivering: Delivering, handover: HandOver) -> None:
        self._rooms = rooms
        self._delivering = delivering
        self._handover = handover
        self._leaves = Leaves(rooms.standing)
        self._stamped = -1
        self._looked: tuple[str, datetime] | None = None  # until when every arrival that ran out was ended, and under which policy

    async def attempt(self, what: str, act: Callable[[], Awaitable[object]]) -> bool:
        """Run one pass; failures are logged, never fatal: what our own code fails at about one exchange ends nobody's day."""
        try:
            await act()
        except (LocalError, RemoteError) as error:
            log.warning("%s: %s", what, error)
            return False
        except Exception:  # the outermost loop of a pass
            log.exception("%s failed unexpectedly", what)
            return False
        return True

    async def stamp_checkpoint(self) -> None:
        """A token over the newest checkpoint: gives receipts their trusted time and confirms our clock. Raises Unreachable, Unverified."""
        rooms = self._rooms
        checkpoint = await rooms.ledger.latest_checkpoint()
        await self._look_at_newest_leaf(checkpoint)
        over = checkpoint.note if checkpoint is not None else rooms.standing.gateway.encode()
        first, *others = rooms.tokens
        for suite in others:
            if suite in rooms.degraded.silent_authorities:  # an authority is heard again when a token of its own was believed
                await self.attempt(f"time authority of {suite}", partial(self._confirm, suite, over))
        token = await self._confirm(first, over)
        if rooms.guard.good(rooms.clock.now(), rooms.clock.monotonic()):
            rooms.agenda.is_back(AUTHORITY)
        if checkpoint is not None and checkpoint.place != self._stamped:
            await rooms.record(Step(changes=(Keep(shelf="token", name=str(checkpoint.place), body=token),)))
            self._stamped = checkpoint.place

    async def _confirm(self, suite_id: str, over: bytes) -> bytes:
        """A believed token over these bytes, which confirms our clock. Raises Unreachable, Unverified, Malformed, CrlStale."""
        rooms, suite = self._rooms, suite_named(suite_id)
        nonce = int.from_bytes(random_bytes(8), "big")
        try:
            token = token_from_response(await rooms.tokens[suite.id].respond(make_request(suite.digest, over, nonce=nonce)))
            now, mono = rooms.clock.now(), rooms.clock.monotonic()
            allowed = rooms.standing.directory.time_authority_fingerprints(suite, None)
            chains = rooms.standing.chains_at(rooms.standing.policy.lowest)  # a stricter level is stopped by its own look at the lists
            stamp = await rooms.stage_out.run(
                lambda: verify_token(token, over, suite=suite, trust=chains, allowed=allowed, now=now, nonce=nonce)
            )
        except RemoteError:  # what gives no good tokens is as good as away
            rooms.degraded.silent("time-authority", suite.id)
            raise
        rooms.guard.saw_token(stamp.at, mono)
        rooms.degraded.heard("time-authority", suite.id)
        return token

    async def call_keys(self) -> None:
        """Ask again for signing keys that are away."""
        standing, degraded = self._rooms.standing, self._rooms.degraded
        if any(isinstance(signer, AbsentSigner) for signer in standing.signers.values()):
            for suite in await asyncio.to_thread(standing.call_keys):
                log.warning("the signing key of suite %s is back", suite)
                degraded.forget()

    async def _look_at_newest_leaf(self, checkpoint: CheckpointRow | None) -> None:
        newest = await self._rooms.ledger.leaf(checkpoint.place - 1) if checkpoint is not None else None
        if newest is not None:
            self._rooms.guard.saw_leaf(parse_time(Leaf.from_bytes(newest).at))

    async def expire(self) -> None:
        """End what is past its ``expires`` on either side."""
        rooms, now = self._rooms, self._rooms.clock.now()
        rooms.guard.check_dates(now, rooms.clock.monotonic())  # nobody's deadline is over because our clock was set
        for exchange, org in await rooms.ledger.expired("out", now - EXPIRY_GRACE, OPEN):
            await self.attempt(f"expiry of {exchange}", partial(self._delivering.expire, exchange, org))
        await self._expire_unsigned(now)
        for exchange, _ in await rooms.ledger.expired("in", now, frozenset({State.HELD})):
            await self.attempt(f"expiry of {exchange}", partial(self._handover.lapse, exchange))

    async def _expire_unsigned(self, now: datetime) -> None:
        """Arrivals nobody acted on. Of the delivered, those that ran out since the last look at which nothing was left over: where policy
        asks nobody to sign they stay delivered for ever, and would all be looked at each time.
        """
        ledger, policy = self._rooms.ledger, self._rooms.standing.policy
        unasked = frozenset(level for level, handling in policy.levels.items() if not handling.sign_for_required)
        since = self._looked[1] - LOOKED_AGAIN if self._looked is not None and self._looked[0] == policy.digest else None
        accepted = await ledger.expired("in", now, frozenset({State.ACCEPTED}), limit=EXPIRY_LIMIT)
        delivered = await ledger.unsigned(since, now, but=unasked, limit=EXPIRY_LIMIT)
        left_over = EXPIRY_LIMIT in (len(accepted), len(delivered))
        for exchange in (*(exchange for exchange, _ in accepted), *delivered):
            if not await self.attempt(f"expiry of {exchange}", partial(self._handover.not_signed_for, exchange)):
                left_over = True
        if not left_over:
            self._looked = policy.digest, now

    async def started(self) -> None:
        """The first leaf of this run; keeps the policy and directory every later leaf refers to."""
        standing, at = self._rooms.standing, self._believed()
        changes = (
            Keep(shelf="policy", name=standing.policy.digest, body=standing.policy_bytes),
            *self._papers(),
        )
        await self._rooms.record(Step(changes=changes, leaves=(self._leaves.leaf(LeafKind.STARTED, at, "started"),)))

    def _believed(self) -> datetime:
        rooms = self._rooms
        return rooms.guard.believed(rooms.clock.now(), rooms.clock.monotonic())

    def _papers(self) -> tuple[Keep, ...]:
        papers, version = self._rooms.standing.papers, str(self._rooms.standing.directory.version)
        return (
            Keep(shelf="directory", name=version, body=papers.head),
            Keep(shelf="directory-signature", name=version, body=papers.signature),
            *(Keep(shelf="entry", name=digest, body=body) for digest, body in papers.entries.items()),
        )

    async def stopped(self) -> None:
        """The last leaf of this run."""
        at = self._believed()
        await self._rooms.record(Step(changes=(), leaves=(self._leaves.leaf(LeafKind.STOPPED, at, "stopped"),)))

    async def adopted(self) -> None:
        """A newer directory came into force."""
        directory, at = self._rooms.standing.directory, self._rooms.clock.now()
        changes = self._papers()
        leaf = self._leaves.leaf(LeafKind.DIRECTORY, at, "adopted", object=directory.digest)
        await self._rooms.record(Step(changes=changes, leaves=(leaf,)))
