"""What an exchange is known by inside one gateway (docs/adr/0013-who-sent-it-is-part-of-the-key.md).

An exchange id is chosen by its sender, so it names an exchange only together with the organisation that sent it: two senders may have
used one id, by chance or on purpose, and neither may stand in the way of the other. Here alone the pair is spelled:

    out   the exchange id: we sent it
    in    <exchange id>-<organisation that sent it>

Every ``exchange`` in a change, a row, a due work, an associated data or a lock is such a key. What is signed (transmittal, receipt, leaf)
says the two apart.
"""

from __future__ import annotations

from gateway.core.exchange import Direction

ID_LENGTH = 36  # a UUID's text


def arrival_key(exchange: str, sender_org: str) -> str:
    """The key of what another organisation sent us."""
    return f"{exchange}-{sender_org}"


def exchange_key(direction: Direction, exchange: str, sender_org: str) -> str:
    """The key of an exchange in that direction."""
    return exchange if direction == "out" else arrival_key(exchange, sender_org)


def id_of(key: str) -> str:
    """The exchange id in a key, which is what is signed and what peers and offices call it by."""
    return key[:ID_LENGTH]


def sender_of(key: str) -> str | None:
    """The organisation in the key of an arrival; None for what we sent."""
    return key[ID_LENGTH + 1 :] or None
