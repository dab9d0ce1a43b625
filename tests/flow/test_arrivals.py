"""Arrivals from hands that mean no good: each is answered by a problem or a signed refusal, leaves nothing behind, and the true one
still goes through afterwards.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from crypto.ca import Profile, Subject
from crypto.content_cipher import ContentKey, fresh_content_key
from crypto.envelopes import make_envelope
from crypto.signed_data import SignedData, sign_detached
from crypto.suites import GM_1, INTL_1
from crypto.timestamps import make_request, token_from_response
from gateway.core.cover import Cover
from gateway.core.directory import certificate_text
from gateway.core.errors import ProblemError
from gateway.core.transmittal import Transmittal
from gateway.flow import sealing
from gateway.flow.inbound import TRANSIENT
from gateway.flow.standing import Standing
from gateway.net.problems import PROBLEMS, is_failure
from tests.crypto.pki import make_pki
from tests.flow.test_time import NO_ROUTE, PAIR, unreached
from tests.flow.wire import Fault, flipped
from tests.flow.world import World, receipted


class Stranger:
    """Has got hold of a sealed exchange on its way from office to finance, and tries."""

    def __init__(self, world, exchange, parcel):
        self.world = world
        self.exchange = exchange
        self.cover = parcel.cover
        self.content = parcel.inline
        self.finance = world["finance"]
        self.peer = world["office"].gateway

    async def tries(self, cover=None, content=None, *, peer=None):
        """The word it is answered with; an arrival that is let in, or refused with a signature, is its receipts."""
        cover = self.cover if cover is None else cover
        content = self.content if content is None else content
        try:
            return receipted(await self.finance.journey.inbound.offer(peer or self.peer, cover, content))
        except ProblemError as problem:
            return word_of(problem)

    def bent(self, **changes):
        """The same cover with other parts."""
        return replace(Cover.from_bytes(self.cover), **changes).to_bytes()

    async def found_nothing(self):
        """Nothing is kept over there."""
        ledger = self.finance.rooms.ledger
        assert await ledger.exchanges() == ()
        assert await ledger.due() == ()
        assert self.finance.office.inbox == {}
        assert not self.finance.orphans()

    async def then_the_true_one_passes(self):
        await self.found_nothing()
        self.world["office"].line.down.clear()
        await self.world.retry()
        assert await self.world["office"].state("out", self.exchange) == "DELIVERED"


async def intercepted(world, **fields):
    exchange = await unreached(world, **fields)
    (_, parcel), *_ = world["office"].line.offered
    return Stranger(world, exchange, parcel)


def word_of(problem: ProblemError) -> str:
    assert problem.problem in PROBLEMS
    return problem.problem


def positions(size: int, chance: random.Random, samples: int) -> Iterator[int]:
    """Bits from every corner: the head, the tail, and an even sweep with a random bit of each byte."""
    step = max(1, size // samples)
    places = {*range(min(48, size)), *range(max(0, size - 16), size), *range(0, size, step)}
    return (place * 8 + chance.randrange(8) for place in sorted(places))


@pytest.mark.parametrize(("suite", "samples"), [(INTL_1, 400), (GM_1, 120)], ids=["intl-1", "gm-1"])
async def test_one_bit_flipped_anywhere_in_the_cover(tmp_path, suite, samples):
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")  # noqa: T201  # shown when it fails
    async with World(tmp_path, suite=suite, keys=PAIR) as world:
        stranger = await intercepted(world)
        words = set()
        for bit in positions(len(stranger.cover), random.Random(seed), samples):
            word = await stranger.tries(flipped(stranger.cover, bit))
            assert isinstance(word, str), f"bit {bit} was let through"
            words.add(word)
        assert {"malformed", "signature-invalid", "envelope-mismatch"} <= words
        await stranger.then_the_true_one_passes()


async def test_what_a_hop_may_have_bent_is_asked_for_again(tmp_path):
    """A cover flipped, cut, lengthened or replaced anywhere: never a last word, for the true one may still come."""
    async with World(tmp_path, keys=PAIR) as world:
        stranger = await intercepted(world)
        cover, read = stranger.cover, Cover.from_bytes(stranger.cover)
        damaged = [flipped(cover, bit) for bit in positions(len(cover), random.Random(11), 60)]
        damaged += [cover[:size] for size in range(0, len(cover), len(cover) // 20)]
        damaged += [stranger.bent(transmittal=read.transmittal[:size]) for size in (0, 1, 200)]
        damaged += [stranger.bent(nro=read.nro[:size]) for size in (0, 1, 200)]
        damaged += [cover + b"\0", b"", stranger.bent(transmittal=b"{}"), stranger.bent(nro=b"\x30\0")]
        words = set()
        for bent in damaged:
            with pytest.raises(ProblemError) as caught:
                await stranger.finance.journey.inbound.offer(stranger.peer, bent, stranger.content)
            assert caught.value.retryable, caught.value
            words.add(word_of(caught.value))
            assert is_failure(caught.value) or caught.value.problem in TRANSIENT, "and it counts against whoever sends such things"
        assert "malformed" in words
        await stranger.then_the_true_one_passes()


@pytest.mark.parametrize("part", ["transmittal", "nro"])
async def test_a_sender_goes_on_after_a_hop_cut_its_cover(tmp_path, part):
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]

        def cut(cover, content):
            read = Cover.from_bytes(cover)
            return replace(read, **{part: getattr(read, part)[:-7]}).to_bytes(), content

        office.line.faults += [Fault(kind="edit", edit=cut)] * 2
        exchange = await world.send()
        await world.retry()
        await world.retry()
        assert [answer.problem for answer in office.line.answers[:2]] == ["malformed", "malformed"]
        assert await office.state("out", exchange) == "DELIVERED"
        assert not any(leaf.startswith("stuck") for leaf in await office.leaves(exchange))


async def test_a_sender_that_signed_what_is_no_transmittal_hears_it_at_once(tmp_path):
    """No hop makes a signature over other bytes: trying again would be in vain, and a person learns of it now."""
    async with World(tmp_path, keys=PAIR) as world:
        stranger = await intercepted(world)
        office, body = (
            world["office"],
            Cover.from_bytes(stranger.cover).transmittal.replace(b'"v":"yizhan-transmittal/1"', b'"v":"yizhan-transmittal/9"'),
        )
        nro = sign_detached(body, office.signing.signer, at=world.time.now()).der
        other = sign_detached(body, world["finance"].signing.signer, at=world.time.now()).der
        for signature, retryable in ((nro, False), (other, True)):
            with pytest.raises(ProblemError) as caught:
                await stranger.finance.journey.inbound.offer(
                    stranger.peer, stranger.bent(transmittal=body, nro=signature), stranger.content
                )
            assert (caught.value.problem, caught.value.retryable) == ("malformed", retryable)
        await stranger.then_the_true_one_passes()


async def test_one_bit_flipped_anywhere_in_the_content(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        stranger = await intercepted(world)
        for bit in positions(len(stranger.content), random.Random(7), 100):
            assert await stranger.tries(content=flipped(stranger.content, bit)) == "ciphertext-mismatch"
        await stranger.then_the_true_one_passes()


async def test_content_of_another_length(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        stranger = await intercepted(world)
        for content in (stranger.content[:-1], stranger.content[1:], stranger.content + b"\0", stranger.content * 2, b"x"):
            assert await stranger.tries(content=content) == "ciphertext-mismatch"
        await stranger.then_the_true_one_passes()


async def test_a_flip_on_the_way_is_mended_by_sending_again(tmp_path):
    """What a hop may have caused never ends an exchange: the sender tries again by itself."""
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        bits = [
            lambda cover, content: (cover, flipped(content, 99)),
            lambda cover, content: (flipped(cover, (len(cover) - 40) * 8), content),
        ]
        office.line.faults += [Fault(kind="edit", edit=bit) for bit in bits]
        exchange = await world.send()
        for _ in range(2):
            assert await office.state("out", exchange) == "SEALED"
            await world.retry()
        assert await office.state("out", exchange) == "DELIVERED"


async def test_a_stripped_token(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        stranger = await intercepted(world)
        office = world["office"]
        bare = sign_detached(Cover.from_bytes(stranger.cover).transmittal, office.signing.signer, at=world.time.now())
        assert bare.token is None
        assert await stranger.tries(stranger.bent(nro=bare.der)) == "token-missing"
        await stranger.then_the_true_one_passes()


async def test_a_token_over_something_else(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        stranger = await intercepted(world)
        nro = SignedData.from_der(Cover.from_bytes(stranger.cover).nro)
        response = await world.authority.respond(make_request(world.suite.digest, b"another signature", nonce=1))
        bare = sign_detached(Cover.from_bytes(stranger.cover).transmittal, world["office"].signing.signer, at=world.time.now())
        for forged in (bare.with_token(token_from_response(response)), bare.with_token(nro.token)):
            assert await stranger.tries(stranger.bent(nro=forged.der)) == "token-invalid"
        await stranger.then_the_true_one_passes()


async def test_a_token_of_an_authority_the_directory_does_not_list(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        stranger = await intercepted(world)
        entry = world.entries["authority/tsa"]
        other = world.pki.issue(Profile.TIME_STAMP, Subject(common_name="Another time authority", organisation_name="Test"))
        world.publish(
            lambda entries: entries.update(
                {"authority/tsa": msgspec.structs.replace(entry, certificates=(certificate_text(other.certificate),))}
            )
        )
        standing = stranger.finance.rooms.standing
        known = standing.directory
        await stranger.finance.adopt()
        standing._known[known.version]._authorities = standing.directory._authorities
        standing._known[known.version].__dict__.pop("_authority_certificates", None)
        assert await stranger.tries() == "token-invalid"
        await stranger.found_nothing()


async def test_envelopes_that_were_not_signed_for(tmp_path):
    async with World(tmp_path) as world:
        stranger = await intercepted(world)
        finance, health = world["finance"], world["health"]
        ((org, envelope),) = Cover.from_bytes(stranger.cover).envelopes
        key = fresh_content_key(world.suite)
        other = make_envelope(ContentKey(suite=world.suite, key=key.key, nonce=key.nonce, tag=b"t" * 16), finance.encryption.certificate)
        assert org == finance.code
        assert await stranger.tries(stranger.bent(envelopes=((org, other),))) == "envelope-mismatch"
        assert await stranger.tries(stranger.bent(envelopes=())) == "not-ours"
        assert await stranger.tries(stranger.bent(envelopes=((health.code, envelope),))) == "not-ours"
        spare = tuple(sorted([(org, envelope), (health.code, other)]))
        assert await stranger.tries(stranger.bent(envelopes=spare)) == "not-ours"
        await stranger.then_the_true_one_passes()


async def test_a_cover_for_somebody_else(tmp_path):
    async with World(tmp_path) as world:
        stranger = await intercepted(world)
        stranger.finance = world["health"]
        assert await stranger.tries() == "not-ours"
        await stranger.found_nothing()


async def test_a_carrier_that_may_not(tmp_path):
    async with World(tmp_path) as world:
        stranger = await intercepted(world)
        assert await stranger.tries(peer=world["health"].gateway) == "not-carrier"
        await stranger.then_the_true_one_passes()


async def test_a_signature_by_another_agency(tmp_path):
    async with World(tmp_path) as world:
        stranger = await intercepted(world)
        forged = sign_detached(Cover.from_bytes(stranger.cover).transmittal, world["health"].signing.signer, at=world.time.now())
        assert await stranger.tries(stranger.bent(nro=forged.der)) == "signer-not-listed"
        await stranger.then_the_true_one_passes()


async def test_a_signature_by_the_encryption_key(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        stranger = await intercepted(world)
        forged = sign_detached(Cover.from_bytes(stranger.cover).transmittal, world["office"].encryption.signer, at=world.time.now())
        assert await stranger.tries(stranger.bent(nro=forged.der)) == "signer-not-listed"
        await stranger.then_the_true_one_passes()


async def test_a_transmittal_of_one_and_the_signature_of_another(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        stranger = await intercepted(world)
        await world.send("second")
        (_, _), *_, (_, second) = world["office"].line.offered
        assert await stranger.tries(stranger.bent(nro=Cover.from_bytes(second.cover).nro)) == "signature-invalid"


async def test_an_organisation_that_is_not_in_the_directory(tmp_path):
    """Its gateway is listed as serving it, and it has no entry."""
    async with World(tmp_path, keys=PAIR) as world:
        stranger = await intercepted(world)
        finance, code = stranger.finance, world["office"].code
        finance.rooms.standing.directory._organisations.pop(code)
        assert await stranger.tries() == "not-carrier"
        await stranger.found_nothing()


async def test_garbage(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        stranger = await intercepted(world)
        chance = random.Random(3)
        for cover in (
            b"\0" * 4,
            b"\0\0\0\2\x30\0",
            chance.randbytes(2_000),
            stranger.cover + b"\0",
            stranger.cover[:-1],
            stranger.cover[4:],
        ):
            assert await stranger.tries(cover) == "malformed"
        assert await stranger.tries(stranger.bent(transmittal=b"{}")) == "malformed"
        assert await stranger.tries(stranger.bent(nro=b"\x30\0")) == "malformed"
        await stranger.then_the_true_one_passes()


# ---- certificates ----------------------------------------------------------------------------------------------------------------


async def test_an_expired_signer(tmp_path, monkeypatch):
    """The sender's own gateway does not sign with a certificate that is over; a peer does not believe one that did."""
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        organisation = office.organisation
        subject = Subject(common_name=organisation.name, organisation_name=organisation.name, organisation_code=office.code)
        office.signing = world.pki.issue(Profile.SIGN, subject, at=world.time.now() - timedelta(days=30), days=29)
        world.edit_organisation(office.code, signing=(certificate_text(office.signing.certificate),))
        await office.restart()
        await finance.adopt()
        office.approve("notice", "关于试点的通知", finance.code)
        await world.settle()
        assert "notice" in office.office.tray, "nothing is taken that cannot be signed"
        assert await office.rooms.ledger.exchanges() == ()
        assert office.scratch_bytes() == 0

        monkeypatch.setattr(Standing, "check_signer", lambda *_: None)  # a gateway that does not look
        world.time.pass_(timedelta(seconds=31))
        await world.settle()
        assert office.line.answers[-1].problem == "chain-invalid"
        assert await finance.rooms.ledger.exchanges() == ()


async def test_a_revoked_signer_of_our_own_takes_nothing(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        office.believe(world.pki.trust_after([(office.signing.certificate, world.time.now(), "keyCompromise")], now=world.time.now()))
        office.approve("notice", "关于试点的通知", world["finance"].code)
        await world.settle()
        assert "notice" in office.office.tray
        assert await office.rooms.ledger.exchanges() == ()


async def test_revoked_before_it_signed(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        stranger = await intercepted(world)
        earlier = world.time.now() - timedelta(days=1)
        stranger.finance.believe(
            world.pki.trust_after([(world["office"].signing.certificate, earlier, "keyCompromise")], now=world.time.now())
        )
        assert await stranger.tries() == "revoked"
        await stranger.found_nothing()


async def test_stale_revocation_lists(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        stranger = await intercepted(world)
        good = stranger.finance.trust
        stranger.finance.believe(replace(good, crls=world.pki.crls_after(now=world.time.now() - timedelta(days=8), days=7)))
        assert await stranger.tries() == "crl-stale"
        stranger.finance.believe(good)
        await stranger.then_the_true_one_passes()


async def test_a_chain_to_roots_of_somebody_else(tmp_path, monkeypatch):
    """Listed by mistake, under an authority nobody here configured."""
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        office.signing = make_pki(world.suite).office.signing
        world.edit_organisation(office.code, signing=(certificate_text(office.signing.certificate),))
        await office.restart()
        await finance.adopt()
        monkeypatch.setattr(Standing, "check_signer", lambda *_: None)  # a gateway that does not look at its own
        office.approve("notice", "关于试点的通知", finance.code)
        await world.settle()
        assert office.line.answers[-1].problem == "chain-invalid"
        assert await finance.rooms.ledger.exchanges() == ()


async def test_roots_that_do_not_even_carry_our_own_directory(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        stranger = await intercepted(world)
        good = stranger.finance.trust
        stranger.finance.believe(make_pki(world.suite).trust)
        assert await stranger.tries() == "directory-expired", "nobody is believed by a directory that is not"
        stranger.finance.believe(good)
        await stranger.then_the_true_one_passes()


# ---- what the sender signed ------------------------------------------------------------------------------------------------------


async def resealed(world, exchange, **changes):
    """The exchange sealed a second time by its own sender, with anything in the draft changed: a cover and content rightly signed."""
    office = world["office"]
    offer = office.office.sent[exchange]
    await office.crash()
    await office.start()
    copies = office.journey.outbound._copy(changes.pop("parts", offer.parts))
    from gateway.core.policy import decide
    from gateway.flow.offered import Taken, question

    standing, at = office.rooms.standing, world.time.now() + changes.pop("ahead", timedelta(0))
    document = offer.document
    clearance = decide(standing.policy, question(document, offer.recipients, copies, office.rooms, at))
    taken = Taken(exchange=exchange, document=document, offer=offer, copies=copies, refs=(), verdict=clearance)
    sealed = sealing.seal(taken.draft, clearance, standing, at, office.rooms.blobs.create)
    if edit := changes.pop("edit", None):
        body = edit(sealed.transmittal).to_bytes()
        sealed = replace(sealed, transmittal_bytes=body, nro=sign_detached(body, office.signing.signer, at=at))
    request, nonce = sealing.token_request(sealed)
    stamped = sealing.stamp(sealed, await world.authority.respond(request), nonce, clearance, standing, at + timedelta(minutes=15))
    for _, held in copies:
        held.drop()
    cover = Cover(transmittal=sealed.transmittal_bytes, nro=stamped.nro, envelopes=sealed.envelopes)
    return cover.to_bytes(), sealed.content.inline


async def test_replay_with_other_content(tmp_path):
    """The sender contradicts itself: refused, both digests in the log, the first one stands."""
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        exchange = await world.send()
        first = await finance.row("in", exchange)
        part = office.office.sent[exchange].parts[0]
        content = b"y" * part.size
        cover, sealed = await resealed(world, exchange, parts=(replace(part, read=lambda: iter((content,))),))
        with pytest.raises(ProblemError) as refused:
            await finance.journey.inbound.offer(office.gateway, cover, sealed)
        assert (refused.value.problem, refused.value.retryable) == ("duplicate-other", False)
        contradictions = [leaf for leaf in await finance.leaves(exchange) if leaf == "contradiction"]
        assert len(contradictions) == 2
        bodies = b"".join(leaf for _, leaf in await finance.rooms.ledger.leaves(first.key))
        second = Transmittal.from_bytes(Cover.from_bytes(cover).transmittal)
        assert first.transmittal_digest.encode() in bodies
        assert (await finance.row("in", exchange)).transmittal_digest == first.transmittal_digest
        assert second.id == exchange
        assert len(finance.office.inbox) == 1


async def test_content_that_does_not_open_is_refused_with_a_signature(tmp_path, monkeypatch):
    """The sender signed an envelope that holds another key: its own failure, final, and kept for whoever looks into it."""
    real = sealing.make_envelope

    def wrong(key, certificate):
        other = fresh_content_key(key.suite)
        return real(ContentKey(suite=key.suite, key=other.key, nonce=other.nonce, tag=key.tag), certificate)

    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        monkeypatch.setattr(sealing, "make_envelope", wrong)
        exchange = await world.send()
        assert await office.state("out", exchange) == "REFUSED_BY_RECIPIENT"
        assert await finance.state("in", exchange) == "REFUSED"
        assert finance.office.inbox == {}
        assert (await finance.leaves(exchange))[0] == "quarantined:content-invalid"
        large = await world.send("large", parts=[("正文.pdf", random.Random(5).randbytes(300_000))])
        assert await finance.state("in", large) == "REFUSED"
        assert not finance.orphans()


async def test_an_envelope_for_another_certificate_is_refused_with_a_signature(tmp_path, monkeypatch):
    real = sealing.make_envelope
    async with World(tmp_path) as world:
        office, finance = world["office"], world["finance"]
        monkeypatch.setattr(sealing, "make_envelope", lambda key, certificate: real(key, world["health"].encryption.certificate))
        exchange = await world.send()
        assert await office.state("out", exchange) == "REFUSED_BY_RECIPIENT"
        assert finance.office.inbox == {}


async def test_a_manifest_that_says_something_else_is_refused_with_a_signature(tmp_path):
    """Level and urgency inside must be those outside."""
    async with World(tmp_path, keys=PAIR) as world:
        finance = world["finance"]
        world["office"].line.down.add(finance.gateway)
        exchange = await world.send()
        cover, content = await resealed(world, exchange, edit=lambda transmittal: msgspec.structs.replace(transmittal, urgency="flash"))
        (receipt,) = receipted(await finance.journey.inbound.offer(world["office"].gateway, cover, content))
        assert b"ContentConsignmentFailure" in receipt.body
        assert finance.office.inbox == {}


async def test_a_life_longer_than_policy_allows_is_refused_with_a_signature(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        finance = world["finance"]
        world["office"].line.down.add(finance.gateway)
        exchange = await world.send()
        cover, content = await resealed(
            world, exchange, edit=lambda transmittal: msgspec.structs.replace(transmittal, expires="2029-01-01T00:00:00Z")
        )
        (receipt,) = receipted(await finance.journey.inbound.offer(world["office"].gateway, cover, content))
        assert b"ContentConsignmentFailure" in receipt.body
        assert (await finance.leaves(exchange))[0] == "refused:arrival.longest-life"


async def test_a_transmittal_from_our_future(tmp_path):
    """Created ninety seconds ahead, stamped so that the stamp alone would pass."""
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        office.line.down.add(finance.gateway)
        exchange = await world.send()
        world.authority.skew = timedelta(seconds=40)
        cover, content = await resealed(world, exchange, ahead=timedelta(seconds=90))
        with pytest.raises(ProblemError, match="created") as refused:
            await finance.journey.inbound.offer(office.gateway, cover, content)
        assert refused.value.problem == "clock"


@pytest.mark.parametrize("skew", [timedelta(minutes=-2), timedelta(minutes=11)], ids=["before", "after"])
async def test_a_stamp_long_before_or_after_the_signature(tmp_path, skew):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        office.line.down.add(finance.gateway)
        exchange = await world.send()
        world.authority.skew = skew
        cover, content = await resealed(world, exchange)
        world.authority.skew = timedelta(0)
        world.time.pass_(timedelta(minutes=12))
        await finance.stamp()
        with pytest.raises(ProblemError, match="stamped") as refused:
            await finance.journey.inbound.offer(office.gateway, cover, content)
        assert refused.value.problem == "token-time"
        assert await finance.rooms.ledger.exchanges() == ()


async def test_a_refusal_is_repeated_byte_for_byte(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        stranger = await intercepted(world)
        stranger.finance.enact(*NO_ROUTE)
        first = await stranger.tries()
        assert b"ContentConsignmentFailure" in first[0].body
        assert await stranger.tries() == first
        assert await stranger.tries(content=stranger.content[:-1]) == first


async def test_not_while_starting_or_stopping(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        stranger = await intercepted(world)
        stranger.finance.rooms.standing.accepts_work = False
        assert await stranger.tries() == "busy"
        stranger.finance.rooms.standing.accepts_work = True
        await stranger.then_the_true_one_passes()


async def test_no_key_of_the_suite_here_is_our_trouble_and_not_theirs(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        stranger = await intercepted(world)
        unwrappers = stranger.finance.rooms.standing.unwrappers
        stranger.finance.rooms.standing.unwrappers = {}
        assert await stranger.tries() == "internal"
        stranger.finance.rooms.standing.unwrappers = unwrappers
        await stranger.then_the_true_one_passes()


async def test_an_old_encryption_key_still_opens(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        stranger = await intercepted(world)
        standing = stranger.finance.rooms.standing
        subject = Subject(common_name="new", organisation_name="new", organisation_code=stranger.finance.code)
        standing.unwrappers = {world.suite.id: (world.pki.issue(Profile.ENCRYPT, subject).unwrapper, *standing.unwrappers[world.suite.id])}
        await stranger.then_the_true_one_passes()
