"""Renewing what a gateway believes while it runs: newer directories and revocation lists, verified before they count.

Belongs to the composition root: it is where the home's files, the network and the flow's standing meet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime

from crypto.certificates import ChainCache, Purpose, Revoked, Trust
from crypto.errors import LocalError, RemoteError
from gateway.core.directory import Directory, DirectoryHead, Equivocation
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


def open_directory(home: Home, bundle: DirectoryBundle, chains: ChainCache, now: datetime) -> tuple[Directory, DirectoryPapers]:
    """The directory kept in the home, verified again. Raises what ``Directory.open`` raises."""
    directory = Directory.open(bundle.head, bundle.signature, bundle.entries, chains=chains, authority=home.directory_authority(), now=now)
    return directory, _papers(directory, bundle.head, bundle.signature, bundle.entries)


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
            _, pending = await asyncio.wait(
                waiting, timeout=self._home.config.directory.refresh_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            for task in pending:
                task.cancel()

    async def watch_crls(self, stop: asyncio.Event) -> None:
        """Adopt newer revocation lists until ``stop``."""
        while not stop.is_set():
            await self._journey.watching.attempt("revocation lists", self.refresh_crls)
            await rest(stop, self._home.config.trust.crl_refresh_seconds)

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
        """One look at every configured place. A list counts only when our own chains still verify with it."""
        changed = False
        for url in self._home.config.trust.crl_urls:
            crl = await self._client.crl(url)
            name = url.rsplit("/", 1)[-1]
            known = self._home.crls / name
            if not known.exists() or await asyncio.to_thread(known.read_bytes) != crl:
                changed |= await asyncio.to_thread(self._take_crl, name, crl)
        if changed:
            self._rooms.standing.chains = ChainCache(await asyncio.to_thread(self._home.trust))

    def _take_crl(self, name: str, crl: bytes) -> bool:
        """Keep a list that stands under our roots; what it revokes is then judged like everything else."""
        present = self._home.trust()
        now = self._rooms.clock.now()
        ours = [signer.certificate for signer in self._rooms.standing.signers.values()]
        chains = ChainCache(Trust(roots=present.roots, intermediates=present.intermediates, crls=(crl, *present.crls)))
        try:
            for certificate in ours:
                chains.verify(certificate, at=now, now=now, purpose=Purpose.SIGN)
        except Revoked as error:
            log.critical("a certificate of ours is revoked: %s", error)
        except (RemoteError, LocalError) as error:
            log.warning("revocation list %s is not adopted: %s", name, error)
            return False
        self._home.keep_crl(name, crl)
        return True


def _papers(directory: Directory, head: bytes, signature: bytes, entries: Mapping[str, bytes]) -> DirectoryPapers:
    named = {ref.digest: entries[ref.digest] for ref in directory.head.entries}
    return DirectoryPapers(head=head, signature=signature, entries=named)
