"""Receipts: issuing our own and judging those of others.

A receipt is judged at the moment it is taken in. It counts only when it names an exchange we know, its signature holds by a certificate
the directory lists for its organisation, and that organisation is entitled to state this event. Anything else is a leaf and an alarm,
never a state.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from crypto.certificates import ChainCache, CrlStale, Purpose, Revoked
from crypto.digests import digest
from crypto.errors import Unverified
from crypto.randomness import random_bytes
from crypto.signed_data import SignedData, sign_detached
from crypto.suites import Suite, suite_named
from gateway.core.canonical import format_time
from gateway.core.errors import ProblemError
from gateway.core.exchange import Direction
from gateway.core.ids import uuid7
from gateway.core.keys import exchange_key
from gateway.core.receipt import EventName, Issuer, OtherExchange, Receipt, ReceiptReason, entitled
from gateway.core.step import KeepReceipt, Work
from gateway.core.transmittal import Transmittal
from gateway.flow.ports import SignedReceipt
from gateway.flow.standing import Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A receipt whose signature holds and whose issuer is entitled to it."""

    receipt: Receipt
    digest: str
    signed: SignedReceipt
    level: str = ""  # of its exchange, where another's was judged: for counting


def new_id(at: datetime) -> str:
    """A fresh UUIDv7."""
    return uuid7(at, random_bytes(10))


def issue(
    standing: Standing,
    suite: Suite,
    *,
    exchange: str,
    recipient: str,
    transmittal: str,
    sealed: str | None,
    event: EventName,
    at: datetime,
    prev: str | None = None,
    reason: str | None = None,
) -> Judged:
    """Sign a statement of ours about one passage. ``reason`` is a code; words travel sealed, never in a receipt."""
    receipt = Receipt(
        v="yizhan-receipt/1",
        id=new_id(at),
        exchange=exchange,
        recipient=recipient,
        transmittal=transmittal,
        sealed=sealed,
        event=event,
        by=Issuer(org=standing.organisation, gateway=standing.gateway),
        at=format_time(at),
        prev=prev,
        reason=ReceiptReason(code=reason, note=None) if reason else None,
        refs=(),
    )
    body = receipt.to_bytes()
    signature = sign_detached(body, standing.signer(suite), at=at).der
    return Judged(receipt=receipt, digest=digest(suite.digest, body), signed=SignedReceipt(body=body, signature=signature))


def judge(
    signed: SignedReceipt, receipt: Receipt, transmittal: Transmittal, transmittal_digest: str, standing: Standing, now: datetime
) -> Judged:
    """Verify one received receipt against the exchange it speaks of.

    Raises Unverified, Malformed, NotEntitled, CrlStale, NotInForce; ProblemError (retryable) for a certificate that only a newer directory may
    list, or that does not hold at this moment: it may have held when it signed, and only a proof of that time, or a person, can tell.
    """
    suite = suite_named(transmittal.suite)
    if receipt.transmittal != transmittal_digest or receipt.exchange != transmittal.id:
        raise OtherExchange("the receipt speaks of another transmittal", exchange=receipt.exchange)
    sealed = transmittal.content.sealed if transmittal.content else None
    if receipt.sealed not in (None, sealed):
        raise OtherExchange("the receipt speaks of other content", exchange=receipt.exchange)
    chains = standing.chains_at(transmittal.level)
    standing.check_directory(now, transmittal.level, chains)
    entitled(receipt, transmittal, standing.directory)
    signature = SignedData.from_der(signed.signature)
    if signature.certificate.fingerprint not in standing.directory.signing_fingerprints(receipt.by.org, suite):
        raise ProblemError("signer-not-listed", f"the certificate is not listed for {receipt.by.org}", retryable=True)
    signature.verify(signed.body)
    _check_chain(chains, signature, now)
    return Judged(receipt=receipt, digest=digest(suite.digest, signed.body), signed=signed, level=transmittal.level)


def _check_chain(chains: ChainCache, signature: SignedData, now: datetime) -> None:
    try:
        chains.verify(signature.certificate, at=now, now=now, purpose=Purpose.SIGN)
    except CrlStale:
        raise
    except Unverified as error:
        problem = "revoked" if isinstance(error, Revoked) else "chain-invalid"
        raise ProblemError(problem, f"the certificate of the receipt: {error}", retryable=True) from error


def kept(judged: Judged, direction: Direction, at: datetime, *, sender_org: str = "") -> KeepReceipt:
    """The change that keeps a receipt's exact bytes; ``sender_org``: who sent the arrival it is about."""
    receipt = judged.receipt
    return KeepReceipt(
        digest=judged.digest,
        direction=direction,
        exchange=exchange_key(direction, receipt.exchange, sender_org),
        recipient=receipt.recipient or "",
        event=receipt.event,
        issuer_org=receipt.by.org,
        at=at,
        body=judged.signed.body,
        signature=judged.signed.signature,
    )


def parse(signed: SignedReceipt) -> Receipt:
    """The receipt those bytes spell. Raises Malformed."""
    return Receipt.from_bytes(signed.body)


def sending(key: str, peer: str, digest: str, at: datetime) -> Work:
    """The work that brings a receipt about an arrival to the gateway it came from."""
    return Work(
        key=f"send-receipt:in:{key}:{digest}", kind="send-receipt", direction="in", exchange=key, due=at, peer=peer, detail=digest.encode()
    )
