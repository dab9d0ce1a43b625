"""Why a recipient's copy stands where it stands, when that was decided after the exchange was opened: held, refused, stuck, given back.

What policy said at first is sealed with the exchange and never changes. What came later is remembered for each recipient, sealed the same
way, in the transaction that moved it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from crypto.content_cipher import StorageKey
from gateway.core.exchange import State
from gateway.core.explain import Reason
from gateway.core.step import Remember
from gateway.flow.ports import ExchangeRow, Ledger

# Only these are ever looked up: nobody asks why a document was delivered, and the common way pays nothing.
EXPLAINED = frozenset({State.HELD, State.REFUSED, State.STUCK, State.EXPIRED})


def remember(key: StorageKey, exchange: str, orgs: Iterable[str], reasons: Sequence[Reason]) -> tuple[Remember, ...]:
    """What a step keeps beside moving these recipients; later ones replace earlier ones."""
    body = msgspec.json.encode(tuple(reasons))
    return tuple(
        Remember(name=(name := _name(exchange, org)), value=base64.b64encode(key.seal(body, name.encode())).decode()) for org in orgs
    )


async def later_reasons(key: StorageKey, ledger: Ledger, row: ExchangeRow) -> Mapping[str, tuple[Reason, ...]]:
    """By recipient, for those where something was decided later. Raises Unverified."""
    if row.direction != "out":
        return {}
    found = {}
    for passage in row.passages:
        if passage.state in EXPLAINED:
            name = _name(row.id, passage.recipient)
            value = await ledger.remembered(name)
            if value is not None:
                found[passage.recipient] = msgspec.json.decode(key.open(base64.b64decode(value), name.encode()), type=tuple[Reason, ...])
    return found


def together(first: Sequence[Reason], row: ExchangeRow, later: Mapping[str, Sequence[Reason]]) -> tuple[Reason, ...]:
    """What is true of the exchange as a whole: what was decided later, then what was said at first where it still holds for somebody."""
    reasons = list(dict.fromkeys(reason for each in later.values() for reason in each))
    if len(later) < len(row.passages):
        reasons += [reason for reason in first if reason not in reasons]
    return tuple(reasons)


def _name(exchange: str, org: str) -> str:
    return f"why/out/{exchange}/{org}"
