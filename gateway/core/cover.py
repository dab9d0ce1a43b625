"""The cover as it goes over the wire: four bytes of length, then one strict DER value (docs/format.md, Cover).

    Cover ::= SEQUENCE {
        transmittal  OCTET STRING,
        nro          OCTET STRING,
        envelopes    SEQUENCE OF SEQUENCE { org UTF8String, envelope OCTET STRING } }

The bytes inside are carried, not judged. Of the recipients only those of the next hop have their envelope here.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from cryptography.hazmat import asn1

from crypto.envelopes import MAX_ENVELOPE
from crypto.errors import Malformed
from crypto.signed_data import MAX_SIGNED_DATA
from gateway.core.canonical import MAX_WIRE_BYTES
from gateway.core.transmittal import MAX_RECIPIENTS

LENGTH_BYTES = 4
MAX_NRO = MAX_SIGNED_DATA  # one signature of the closed profile
MAX_ORG_BYTES = 18  # a unified social credit code has 18 characters
MAX_COVER = MAX_WIRE_BYTES + MAX_NRO + MAX_RECIPIENTS * (MAX_ENVELOPE + 32) + 64  # 32, 64: tags and lengths, each counted at its largest


@asn1.sequence
class _Envelope:
    org: str
    envelope: bytes


@asn1.sequence
class _Cover:
    transmittal: bytes
    nro: bytes
    envelopes: list[_Envelope]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cover:
    """A transmittal, its signature, and the envelopes for one next hop, sorted by organisation."""

    transmittal: bytes
    nro: bytes
    envelopes: tuple[tuple[str, bytes], ...]

    def __post_init__(self) -> None:
        if len(self.transmittal) > MAX_WIRE_BYTES or len(self.nro) > MAX_NRO:
            raise Malformed("a transmittal or signature above its ceiling", transmittal=len(self.transmittal), nro=len(self.nro))
        if len(self.envelopes) > MAX_RECIPIENTS:
            raise Malformed(f"{len(self.envelopes)} envelopes where {MAX_RECIPIENTS} are the most")
        if any(len(org.encode()) > MAX_ORG_BYTES or len(envelope) > MAX_ENVELOPE for org, envelope in self.envelopes):
            raise Malformed("an organisation or envelope above its ceiling")
        if any(left >= right for (left, _), (right, _) in pairwise(self.envelopes)):
            raise Malformed("envelopes are not distinct and sorted by organisation")

    def to_bytes(self) -> bytes:
        """Length and DER."""
        envelopes = [_Envelope(org=org, envelope=envelope) for org, envelope in self.envelopes]
        der = asn1.encode_der(_Cover(transmittal=self.transmittal, nro=self.nro, envelopes=envelopes))
        return len(der).to_bytes(LENGTH_BYTES, "big") + der

    @classmethod
    def from_bytes(cls, data: bytes) -> Cover:
        """The cover in exactly these bytes. Raises Malformed."""
        length = int.from_bytes(data[:LENGTH_BYTES], "big")
        if len(data) < LENGTH_BYTES or length > MAX_COVER or length != len(data) - LENGTH_BYTES:
            raise Malformed("a cover of another length than it states, or above the ceiling", stated=length, size=len(data))
        try:
            cover = asn1.decode_der(_Cover, data[LENGTH_BYTES:])
        except ValueError as error:
            raise Malformed("a cover that is not its strict DER") from error
        envelopes = tuple((envelope.org, envelope.envelope) for envelope in cover.envelopes)
        return cls(transmittal=cover.transmittal, nro=cover.nro, envelopes=envelopes)
