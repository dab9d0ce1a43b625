"""A crowd of recipients for one document: light receivers behind some gateways, each of which serves many organisations.

They keep nothing, but what they state they may state: every content is opened by the flow's own checks with each recipient's own key, and
every receipt is signed with the recipient's own certificate. The cover is examined for the first recipient of a request, and in the long
form for each; an envelope that is not the one signed for is refused for each.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace

from crypto.ca import Profile, Subject
from crypto.digests import digest
from gateway.core.cover import Cover
from gateway.core.directory import Entry, GatewayEntry, GatewayLink, Names, OrganisationEntry, certificate_text
from gateway.flow.opening import Examined, examine, open_content
from gateway.flow.ports import Answer, Receipted, SignedReceipt
from gateway.flow.standing import Standing
from gateway.flow.witness import Judged, issue
from tests.crypto.pki import Holder, organisation_code
from tests.faults.torture import FACTOR
from tests.flow.world import World

BATCH = 64  # receipts a request, as a gateway of ours sends them


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One organisation of the crowd."""

    code: str
    gateway: str
    signing: Holder
    encryption: Holder


class Crowd:
    """``count`` organisations behind ``gateways`` gateways, listed in the world's directory: to be made before the world begins."""

    def __init__(self, world: World, count: int, gateways: int) -> None:
        self.world = world
        self.members = tuple(self._member(number, f"gw-crowd-{number % gateways}") for number in range(count))
        self.by_code = {member.code: member for member in self.members}
        self.requests: Counter[str] = Counter()
        self.opened: Counter[str] = Counter()
        self._standings: dict[str, Standing] = {}
        self._stated: dict[str, tuple[Examined, Judged]] = {}
        for number in range(gateways):
            self._appear(f"gw-crowd-{number}")
        world.publish(self._list)

    def _member(self, number: int, gateway: str) -> Member:
        code = organisation_code(f"11310000MB1{number:06d}")
        subject = Subject(common_name=f"第{number}单位", organisation_name=f"第{number}单位", organisation_code=code)
        issued = (self.world.pki.issue(profile, subject) for profile in (Profile.SIGN, Profile.ENCRYPT))
        return Member(code=code, gateway=gateway, signing=next(issued), encryption=next(issued))

    def _appear(self, gateway: str) -> None:
        inbound = SimpleNamespace(offer=self._offer_to(gateway))
        node = SimpleNamespace(gateway=gateway, alive=True, lives=1, crashing=False, journey=SimpleNamespace(inbound=inbound))
        self.world.by_gateway[gateway] = node  # type: ignore[assignment]  # as much of a node as a line asks for

    def _list(self, entries: dict[str, Entry]) -> None:
        for member in self.members:
            organisation = OrganisationEntry(
                code=member.code,
                names=Names(zh=f"单位 {member.code}", en=""),
                zone="extranet",
                highest_level="work-secret",
                suites=(self.world.suite.id,),
                signing=(certificate_text(member.signing.certificate),),
                encryption=(certificate_text(member.encryption.certificate),),
            )
            entries[organisation.entry_id] = organisation
        for name in {member.gateway for member in self.members}:
            gateway = GatewayEntry(
                id=name,
                organisations=tuple(sorted(member.code for member in self.members if member.gateway == name)),
                links=(GatewayLink(kind="https", url="https://127.0.0.1:1"),),
                tls=(self.world.pki.office.tls.certificate.fingerprint,),  # nobody speaks TLS here
                log_keys=(),
            )
            entries[gateway.entry_id] = gateway

    # ---- receiving

    def _standing(self, member: Member) -> Standing:
        """What every gateway of ours stands on, with this organisation's name and keys."""
        if member.code not in self._standings:
            ours = self.world["office"].rooms.standing
            suite = self.world.suite.id
            self._standings[member.code] = dataclasses.replace(
                ours,
                organisation=member.code,
                gateway=member.gateway,
                signers={suite: member.signing.signer},
                unwrappers={suite: (member.encryption.unwrapper,)},
            )
        return self._standings[member.code]

    def _offer_to(self, gateway: str):
        async def offer(peer: str, cover_bytes: bytes, content: bytes | None) -> Answer:
            self.requests[gateway] += 1
            assert content is not None
            cover, examined, receipts = Cover.from_bytes(cover_bytes), None, []
            for org, envelope in cover.envelopes:
                assert self.by_code[org].gateway == gateway
                if examined is None or FACTOR:
                    examined = self._examine(peer, cover, org)
                receipts.append(self._accept(dataclasses.replace(examined, envelopes=((org, envelope),)), content))
            return Receipted(receipts=tuple(receipts))

        return offer

    def _examine(self, peer: str, cover: Cover, org: str) -> Examined:
        own = dataclasses.replace(cover, envelopes=tuple(each for each in cover.envelopes if each[0] == org))
        examined = examine(own, peer, self._standing(self.by_code[org]), self.world.time.now())
        assert not examined.refusal
        return examined

    def _accept(self, examined: Examined, content: bytes) -> SignedReceipt:
        ((org, envelope),) = examined.envelopes
        listed = examined.transmittal.recipient(org)
        assert listed is not None
        assert listed.envelope == digest(examined.suite.digest, envelope)
        member = self.by_code[org]
        open_content(examined, iter((content,)), self._standing(member), self.world.time.now())
        self.opened[org] += 1
        return self._state(member, examined, "ContentConsignment", None)

    def _state(self, member: Member, examined: Examined, event: str, prev: str | None) -> SignedReceipt:
        assert examined.transmittal.content is not None
        stated = issue(
            self._standing(member),
            self.world.suite,
            exchange=examined.transmittal.id,
            recipient=member.code,
            transmittal=examined.digest,
            sealed=examined.transmittal.content.sealed,
            event=event,  # type: ignore[arg-type]
            at=self.world.time.now(),
            prev=prev,
        )
        self._stated[member.code] = examined, stated
        return stated.signed

    # ---- answering

    async def state(self, event: str) -> None:
        """Every member states this about the document it got; each gateway brings its own."""
        by_gateway: dict[str, list[SignedReceipt]] = {}
        for member in self.members:
            examined, last = self._stated[member.code]
            by_gateway.setdefault(member.gateway, []).append(self._state(member, examined, event, last.digest))
        for gateway, receipts in by_gateway.items():
            for batch in batches(receipts):
                answers = await self.world["office"].journey.inbound.receipts(gateway, batch)
                assert {answer.code for answer in answers} == {"ok"}


def batches(receipts: Sequence[SignedReceipt]) -> list[Sequence[SignedReceipt]]:
    return [receipts[start : start + BATCH] for start in range(0, len(receipts), BATCH)]
