"""What an office offered, as policy, the seal and the ledger see it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec

from crypto.certificates import ChainCache, Purpose
from crypto.digests import digest
from crypto.errors import Unverified
from crypto.suites import Suite, suite_named
from gateway.core.directory import DirectoryError
from gateway.core.document import Document
from gateway.core.errors import AlreadyOpen, BadInput
from gateway.core.explain import Reason, explain, explain_error
from gateway.core.manifest import MAX_MANIFEST_BYTES, PartEntry
from gateway.core.policy import Clearance, PartFacts, Party, Question, Verdict
from gateway.core.transmittal import MAX_CONTENT_BYTES
from gateway.flow.opening import party
from gateway.flow.ports import BadOffer, Held, Offer, OfferedPart
from gateway.flow.private import Private
from gateway.flow.rooms import Rooms
from gateway.flow.sealing import Copy, Draft, metadata_digest
from gateway.flow.standing import Standing

log = logging.getLogger("yizhan.outbound")

MAX_OFFER_BYTES = MAX_CONTENT_BYTES - 2 * MAX_MANIFEST_BYTES  # what one key may encrypt, less the manifest and the ZIP around 1,000 parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """An offer copied and cleared, on its way to the seal."""

    exchange: str
    document: Document
    offer: Offer
    copies: tuple[tuple[OfferedPart, Held], ...]
    refs: tuple[str, ...]
    verdict: Verdict

    @property
    def clearance(self) -> Clearance:
        """Policy's permission; only what has it is ever sealed."""
        assert isinstance(self.verdict, Clearance), "internal: an offer without clearance on its way to the seal"
        return self.verdict

    @property
    def private(self) -> Private:
        """What is kept of it for our own people, and for asking policy again."""
        return Private(document=self.document, reasons=tuple(self.verdict.reasons), parts=part_facts(self.copies), source=self.offer.source)

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(held.size for _, held in self.copies)

    @property
    def draft(self) -> Draft:
        """What the seal is put on."""
        return _draft(self.exchange, self.document, self.offer, self.copies, self.clearance, self.refs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """What was sent before under the name an offer has."""

    exchanges: tuple[tuple[str, str], ...]  # (exchange id, content digest), oldest first
    is_open: bool  # whether the last of them is still under way

    def refs_for(self, source: str, content_digest: str) -> tuple[str, ...]:
        """The exchange the new one refers to. Raises AlreadyOpen for the same content, BadInput while other content is under way."""
        for exchange, known in self.exchanges:
            if known == content_digest:
                raise AlreadyOpen("this offer was taken before", exchange=exchange)
        last = self.exchanges[-1:]
        if self.is_open:
            reasons = (explain("offer/source-open", source=source, exchange=last[0][0], at=source),)
            raise BadInput("other content under the name of an open exchange", reasons=reasons)
        return tuple(exchange for exchange, _ in last)


def part_facts(copies: Sequence[tuple[OfferedPart, Held]]) -> tuple[PartFacts, ...]:
    """The parts as policy sees them."""
    return tuple(
        PartFacts(name=part.name, media_type=part.media_type, size=part.size, digest=next(iter(held.digests.values())), level=part.level)
        for part, held in copies
    )


def question(
    document: Document, recipients: Sequence[tuple[str, str]], copies: Sequence[tuple[OfferedPart, Held]], rooms: Rooms, at: datetime
) -> Question:
    """What policy is asked about an offer. Raises NotInForce, CrlStale, AwayTooLong: it waits."""
    standing, parts = rooms.standing, part_facts(copies)
    chains = standing.chains_at(document.level)
    asked = tuple(_recipient(standing, chains, org, at) for org, _ in sorted(recipients))
    return Question(
        kind="document",
        side="send",
        level=document.level,
        urgency=document.urgency,
        suite=None,
        metadata_digest=metadata_digest(document),
        parts=parts,
        size=sum(part.size for part in parts),
        sender=party(standing.directory, standing.organisation),
        recipients=asked,
        at=at,
        created=None,
        expires=None,
        stamped=True,
        directory_version=standing.directory.version,
        directory_digest=standing.directory.digest,
        lapses=rooms.degraded.forgiven(document.level, chains, at),
    )


def _recipient(standing: Standing, chains: ChainCache, org: str, at: datetime) -> Party:
    """A recipient as policy sees it: of its suites only those in which something may be encrypted to it now. Raises NotListed, CrlStale."""
    known = party(standing.directory, org)
    usable = tuple(suite for suite in known.suites if _reachable(standing, chains, org, suite_named(suite), at))
    return known if usable == known.suites else replace(known, suites=usable)


def _reachable(standing: Standing, chains: ChainCache, org: str, suite: Suite, at: datetime) -> bool:
    certificates = standing.directory.encryption_certificates(org, suite)
    if not certificates:
        return False
    try:
        chain = chains.verify(certificates[0], at=at, now=at, purpose=Purpose.ENCRYPT)
    except Unverified as error:
        log.warning("the encryption certificate of %s is not used: %s", org, error)
        return False
    return chain.revoked_later is None


def check_recipients(standing: Standing, offer: Offer) -> None:
    """Everybody named is another organisation of the directory, behind a gateway. Raises BadInput that names all who are not."""
    reasons: list[Reason] = []
    for org, _ in offer.recipients:
        if org == standing.organisation:
            reasons.append(explain("offer/to-self", org=org, at=org))
            continue
        try:
            standing.directory.organisation(org)
            standing.gateway_of(org)
        except DirectoryError as error:
            reasons.append(explain_error(error, at=org))
    if reasons:
        raise BadInput(reasons[0].en, reasons=tuple(reasons))


def attachments(offer: Offer) -> int:
    return sum(part.role == "attachment" for part in offer.parts)


def check_size(offer: Offer) -> None:
    """Its content fits under one key (docs/format.md, Content), whatever policy permits. Raises BadInput, before anything is copied."""
    size = size_of_offer(offer)
    if size > MAX_OFFER_BYTES:
        raise BadInput(f"an offer of {size} bytes", reasons=(explain("offer/too-large", size=str(size), largest=str(MAX_OFFER_BYTES)),))


def size_of_offer(offer: Offer | BadOffer) -> int:
    """Bytes of all parts, as the office says."""
    return sum(part.size for part in offer.parts) if isinstance(offer, Offer) else 0


def drop(copies: Sequence[tuple[OfferedPart, Held]]) -> None:
    for _, held in copies:
        held.drop()


def content_digest_of(offer: Offer, copies: Sequence[tuple[OfferedPart, Held]]) -> str:
    """What an offer says and holds: with office and source it names the offer for ever."""
    facts = {
        "document": offer.document.to_bytes().decode(),
        "recipients": sorted(offer.recipients),
        "parts": [(part.name, part.role, part.level, held.size, sorted(held.digests.items())) for part, held in copies],
    }
    return digest("sha256", msgspec.json.encode(facts, order="sorted"))


def _draft(
    exchange: str,
    document: Document,
    offer: Offer,
    copies: Sequence[tuple[OfferedPart, Held]],
    clearance: Clearance,
    refs: tuple[str, ...],
) -> Draft:
    assert document.level is not None
    return Draft(
        exchange=exchange,
        document=document,
        level=document.level,
        urgency=document.urgency,
        recipients=tuple(sorted(offer.recipients)),
        copies=tuple(
            Copy(
                entry=PartEntry(
                    name=part.name,
                    role=part.role,
                    level=part.level or document.level,
                    media_type=part.media_type,
                    size=held.size,
                    digest=held.digests[clearance.suite.digest],
                ),
                held=held,
            )
            for part, held in copies
        ),
        refs=refs,
    )
