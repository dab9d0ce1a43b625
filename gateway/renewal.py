"""Renewing what a gateway believes while it runs: newer directories and revocation lists, verified before they count.

Belongs to the composition root: it is where the home's files, the network and the flow's standing meet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from datetime import datetime

from crypto.certificates import Certificate, ChainCache, CrlStale, Purpose, Revoked, Trust
from crypto.crls import Crl
from crypto.errors import LocalError, RemoteError, Unverified
from gateway.core.directory import Directory, DirectoryExpired, DirectoryHead, Equivocation
from gateway.core.leaf import LeafKind
from gateway.core.step import Step
from gateway.flow.journey import Journey, rest
from gateway.flow.leaves import Leaves
from gateway.flow.ports import DirectorySource
from gateway.flow.rooms import Rooms
from gateway.flow.standing import DirectoryPapers
from gateway.home import DirectoryBundle, Home
from gateway.net.directory_client import DirectoryClient

log = logging.getLogger("yizhan.renewal")

RETRY_SECONDS = 5.0  # between looks while a stale list or an expired directory keeps everybody waiting


def open_directory(home: Home, bundle: DirectoryBundle, chains: ChainCache, now: datetime) -> tuple[Directory, DirectoryPapers]:
    """The directory kept in the home, verified again. Raises what ``Directory.open`` raises.

    After a long stop its time or our revocation lists may be over. That stops nobody from starting: it is reopened as the one to go on
    from, forbids everything (``Rooms.obstacles``), and newer lists and a newer directory are fetched.
    """
    authority = home.directory_authority()
    try:
        directory = Directory.open(bundle.head, bundle.signature, bundle.entries, chains=chains, authority=authority, now=now)
    except (DirectoryExpired, CrlStale) as error:
        log.warning("directory version %d is not in force, nothing is taken before a newer one: %s", bundle.version, error)
        directory = Directory.reopen(bundle.head, bundle.signature, bundle.entries, authority=authority)
    return directory, _papers(directory, bundle.head, bundle.signature, bundle.entries)


def older_directories(home: Home, now: datetime) -> Iterator[Directory]:
    """The kept directories before the newest that are not over yet: transmittals made under them are still good."""
    authority = home.directory_authority()
    for bundle in home.directories()[1:]:
        try:
            directory = Directory.reopen(bundle.head, bundle.signature, bundle.entries, authority=authority)
        except RemoteError as error:
            log.warning("directory version %d is not used any more: %s", bundle.version, error)
            continue
        if now < directory.expires:
            yield directory


def keep_crl(home: Home, name: str, der: bytes) -> bool:
    """Keep a fetched revocation list under that name; whether it counts from now on.

    1. It is a list we can use. 2. An authority under our roots signed it. 3. It is not older than what we have of that authority: whoever
    serves lists must not take a revocation back. 4. It is of the same authority as the list of that name.
    """
    trust = home.trust()
    try:
        crl = Crl.from_der(der)
        issuer = _issuer(crl, trust)
        for kept in home.revocation_lists():
            if kept.crl is None:
                continue
            if kept.file.name == name and kept.crl.issuer_der != crl.issuer_der:
                raise Unverified("the list kept under this name is of another authority", check="crl-issuer")
            if _signed_by(kept.crl, issuer) and (crl.number, crl.this_update) < (kept.crl.number, kept.crl.this_update):
                raise Unverified(f"number {crl.number}, and {kept.crl.number} is here already", check="crl-number")
    except RemoteError as error:
        log.warning("revocation list %s is not adopted: %s", name, error)
        return False
    home.keep_crl(name, der)
    return True


def _issuer(crl: Crl, trust: Trust) -> Certificate:
    """The authority of ours that signed the list. Raises Unverified."""
    for authority in (*trust.roots, *trust.intermediates):
        if "crl_sign" in authority.usages and _signed_by(crl, authority):
            return authority
    raise Unverified("no authority under our roots signed it", check="crl-signature")


def _signed_by(crl: Crl, authority: Certificate) -> bool:
    if crl.issuer_der != authority.subject_der:
        return False
    try:
        crl.verify(authority.public_key)
    except Unverified:
        return False
    return True


class Renewal:
    """Two loops: the directory, the revocation lists."""

    def __init__(self, home: Home, rooms: Rooms, journey: Journey, source: DirectoryClient) -> None:
        self._home = home
        self._rooms = rooms
        self._journey = journey
        self._source: DirectorySource = source
        self._client = source
        self._asked = asyncio.Event()
        self._leaves = Leaves(rooms.standing)

    def ask(self) -> None:
        """Somebody named a directory we do not know: look now instead of at the next turn."""
        self._asked.set()

    async def watch_directory(self, stop: asyncio.Event) -> None:
        """Adopt newer directories until ``stop``."""
        while not stop.is_set():
            await self._journey.watching.attempt("directory", self.refresh_directory)
            self._asked.clear()
            waiting = {asyncio.create_task(stop.wait()), asyncio.create_task(self._asked.wait())}
            pause = self._pause(self._home.config.directory.refresh_seconds)
            _, pending = await asyncio.wait(waiting, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()

    async def watch_crls(self, stop: asyncio.Event) -> None:
        """Adopt newer revocation lists until ``stop``."""
        while not stop.is_set():
            await self._journey.watching.attempt("revocation lists", self.refresh_crls)
            await rest(stop, self._pause(self._home.config.trust.crl_refresh_seconds))

    def _pause(self, usual: float) -> float:
        """Until the next look: soon while what is looked for is wanting, whether or not policy lets a level go on without."""
        waited_for = any(absence.mode in ("directory-expired", "crl-stale") for absence in self._rooms.degraded.absences())
        return min(usual, RETRY_SECONDS) if waited_for else usual

    async def catch_up(self) -> None:
        """Before the first work: fresh lists where ours are over, for a directory is believed by them; then the newest directory."""
        if not self._rooms.standing.fresh(self._rooms.clock.now()):
            await self._journey.watching.attempt("revocation lists", self.refresh_crls)
        await self._journey.watching.attempt("directory", self.refresh_directory)

    async def refresh_directory(self) -> None:
        """One look. Raises Unreachable, and what ``Directory.open`` raises."""
        standing, now = self._rooms.standing, self._rooms.clock.now()
        head, signature = await self._source.head()
        if head == standing.papers.head:
            return
        known = standing.papers.entries
        refs = DirectoryHead.from_bytes(head).entries
        entries = {ref.digest: known.get(ref.digest) or await self._source.entry(ref.digest) for ref in refs}
        try:
            directory = Directory.open(
                head,
                signature,
                entries,
                chains=standing.chains,
                authority=self._home.directory_authority(),
                now=now,
                previous=standing.directory,
            )
        except Equivocation as error:
            log.critical("the directory authority contradicts itself: %s", error)
            leaf = self._leaves.leaf(LeafKind.EQUIVOCATION, now, "refused")
            await self._rooms.record(Step(changes=(), leaves=(leaf,)))
            raise
        bundle = DirectoryBundle(version=directory.version, head=head, signature=signature, entries=entries)
        await asyncio.to_thread(self._home.keep_directory, bundle)
        standing.adopt(directory, _papers(directory, head, signature, entries))
        await self._journey.watching.adopted()
        log.info("directory version %d is in force", directory.version)

    async def refresh_crls(self) -> None:
        """One look at every configured place; one that fails does not keep us from the others."""
        changed = False
        for url in self._home.config.trust.crl_urls:
            try:
                changed |= await self._refresh_crl(url)
            except (RemoteError, LocalError) as error:
                log.warning("revocation list %s: %s", url, error)
        if changed:
            self._rooms.standing.chains = ChainCache(await asyncio.to_thread(self._home.trust))
            self._look_at_ourselves()

    async def _refresh_crl(self, url: str) -> bool:
        crl = await self._client.crl(url)
        name = url.rsplit("/", 1)[-1]
        known = self._home.crls / name
        if known.exists() and await asyncio.to_thread(known.read_bytes) == crl:
            return False
        return await asyncio.to_thread(keep_crl, self._home, name, crl)

    def _look_at_ourselves(self) -> None:
        """A list of today may name us."""
        standing, now = self._rooms.standing, self._rooms.clock.now()
        for signer in standing.signers.values():
            try:
                standing.chains.verify(signer.certificate, at=now, now=now, purpose=Purpose.SIGN)
            except Revoked as error:
                log.critical("a certificate of ours is revoked: %s", error)
            except (RemoteError, LocalError) as error:
                log.warning("our own certificate is not believed now: %s", error)


def _papers(directory: Directory, head: bytes, signature: bytes, entries: Mapping[str, bytes]) -> DirectoryPapers:
    named = {ref.digest: entries[ref.digest] for ref in directory.head.entries}
    return DirectoryPapers(head=head, signature=signature, entries=named)
