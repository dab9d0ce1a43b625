"""The way of one exchange as ``trace`` and ``queue show`` tell it: what happened, when, and who says so."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from gateway.core.leaf import Leaf, LeafKind
from gateway.core.receipt import Receipt
from gateway.flow.ports import ExchangeRow, ReceiptRow
from gateway.home import Home
from gateway.store.epochs import index_of
from gateway.store.ledger import Ledger


class Hop(NamedTuple):
    """One thing that happened: when, through which gateway, what, about whom, proved by what."""

    at: datetime
    gateway: str
    org: str
    what: str
    recipient: str
    proof: str


async def hops_of(home: Home, ledger: Ledger, row: ExchangeRow, receipts: tuple[ReceiptRow, ...]) -> list[Hop]:
    """Our own steps by the leaves of the log, everybody's statements by their receipts, in order of time."""
    gateway, org = home.config.gateway.id, home.config.gateway.organisation
    hops = [Hop(row.created, gateway, org, "opened", "", "record")] if not row.passages else []
    for place, body in await ledger.leaves(row.key):
        leaf = Leaf.from_bytes(body)
        if leaf.kind is not LeafKind.RECEIPT:  # the receipt itself says more
            hops.append(Hop(leaf.moment, gateway, org, leaf.kind.value, leaf.recipient or "", f"leaf {index_of(place)}"))
    for each in receipts:
        receipt = Receipt.from_bytes(each.body)
        hops.append(Hop(receipt.moment, receipt.by.gateway, receipt.by.org, each.event, each.recipient, f"receipt {each.digest[:15]}"))
    return sorted(hops, key=lambda hop: hop.at)
