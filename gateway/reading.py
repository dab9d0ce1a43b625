"""Reading a home's records while its gateway runs or rests: for the command line and for evidence. Nothing here writes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager

from crypto.errors import Malformed
from gateway.core.directory import OrganisationEntry
from gateway.core.errors import BadInput
from gateway.core.explain import explain
from gateway.core.keys import ID_LENGTH
from gateway.flow.ports import ExchangeRow
from gateway.flow.private import Private, open_private
from gateway.home import Home
from gateway.store.blobs import READ_PIECE, BlobMissing
from gateway.store.ledger import Ledger

_NAMED = 3  # candidates named when several exchanges begin as asked: what fits into a sentence


@asynccontextmanager
async def open_ledger(home: Home) -> AsyncIterator[Ledger]:
    """The home's ledger. Raises BadInput before the gateway ever ran."""
    if not home.database.exists():
        raise BadInput("no database yet", reasons=(explain("cli/no-database", place=home.database),))
    ledger = Ledger(home.database)
    try:
        yield ledger
    finally:
        ledger.close()


async def find_exchange(ledger: Ledger, exchange: str) -> ExchangeRow:
    """The only exchange whose id, or id and sender (``<exchange id>-<organisation>``), begin so. Raises BadInput."""
    alike = await ledger.beginning(exchange[:ID_LENGTH]) if exchange else ()
    found = {whole: row for row in alike if (whole := f"{row.id}-{row.sender_org}").startswith(exchange)}
    if not found:
        raise BadInput(f"no exchange {exchange}", reasons=(explain("cli/unknown-exchange", exchange=exchange),))
    if len(found) > 1:
        raise ambiguous(exchange, found)
    return next(iter(found.values()))


def ambiguous(exchange: str, candidates: Iterable[str]) -> BadInput:
    """Several begin so: names them, so that a person can choose one."""
    names = sorted(candidates)
    some = ", ".join(names[:_NAMED]) + (" …" if len(names) > _NAMED else "")
    return BadInput(f"several exchanges {exchange}…", reasons=(explain("cli/ambiguous-exchange", exchange=exchange, candidates=some),))


class Reader:
    """What turns rows into words: the storage key for titles, the kept directory for names. Names are for display and not verified."""

    def __init__(self, home: Home) -> None:
        self._storage_key = home.storage_key()
        self._names = _names(home)

    def name(self, org: str) -> str:
        """The organisation's name, or its code where the directory knows none."""
        return self._names.get(org, org)

    def private(self, row: ExchangeRow) -> Private | None:
        """The metadata kept for our own people; None where none was. Raises Unverified."""
        if not row.private:
            return None
        return open_private(self._storage_key, row.direction, row.key, row.private)

    def title(self, row: ExchangeRow) -> str:
        """The document's title, or nothing."""
        private = self.private(row)
        return private.document.title if private else ""


def _names(home: Home) -> dict[str, str]:
    bundle = home.directory()
    names = {home.config.gateway.organisation: home.config.gateway.name}
    for body in bundle.entries.values() if bundle else ():
        try:
            entry = OrganisationEntry.from_bytes(body)
        except Malformed:
            continue  # a gateway or an authority
        names[entry.code] = entry.names.zh
    return names


def blob_pieces(home: Home, name: str) -> Iterator[bytes]:
    """A blob's bytes, read beside a gateway that may be running: ``FolderBlobs`` would tidy up its folder. Raises BlobMissing."""
    try:
        stream = (home.data / "blobs" / name[:2] / name).open("rb")
    except FileNotFoundError:
        raise BlobMissing(f"blob {name} is not there: run fsck", blob=name) from None
    with stream:
        while piece := stream.read(READ_PIECE):
            yield piece
