"""Arrivals by a member of the network who lies, with certificates that are all in order.

Each attack is refused with its own word, leaves a leaf and a count, and the true exchange of office to finance and health then runs to
its end as if nothing had been. What the words say is in docs/threat-model.md.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest

from crypto.ca import Profile, Subject
from crypto.tsa import TimeAuthority
from gateway.core.cover import Cover
from gateway.core.errors import ProblemError
from gateway.core.transmittal import DirectoryRef, Sender
from tests.crypto.pki import TSA_POLICY
from tests.faults.lying import TRUE_TITLE, Scene, pieces, reasons, scene, stamped
from tests.flow.wire import Fault
from tests.flow.world import World

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """What is done, the word it is answered with (``!``: for good), and the reason its leaf and its count go by.

    ``reached``: the true exchange is in both offices already.
    """

    act: Callable[[Scene], Awaitable[str]]
    word: str
    reason: str
    counted: str = ""  # as the leaf, where nothing is said
    reached: bool = False


def _resigned(found: Scene, **changes: object) -> dict[str, object]:
    only = tuple(one for one in found.true.transmittal.recipients if one.org == found.finance.code)
    return {"sender": Sender(org=found.liar.code, gateway=found.liar.gateway), "recipients": only, **changes}


async def my_signature_around_anothers_ciphertext(found: Scene) -> str:
    return await found.offer(await found.signed(found.true, found.liar, **_resigned(found)))


async def my_signature_around_anothers_ciphertext_under_an_id_of_mine(found: Scene) -> str:
    mine = (await found.write(found.liar, found.finance)).transmittal.id
    return await found.offer(await found.signed(found.true, found.liar, **_resigned(found, id=mine)))


async def a_label_lower_on_the_cover_than_in_the_manifest(found: Scene) -> str:
    return await found.offer(await found.write(found.liar, found.finance, outside={"level": "public"}))


async def more_urgent_outside_than_inside(found: Scene) -> str:
    return await found.offer(await found.write(found.liar, found.finance, outside={"urgency": "flash"}))


async def anothers_name_in_the_manifest(found: Scene) -> str:
    from gateway.core.manifest import ManifestSender

    return await found.offer(await found.write(found.liar, found.finance, inside={"sender": ManifestSender(org=found.office.code)}))


async def envelopes_swapped_on_the_way(found: Scene) -> str:
    swapped = ((found.finance.code, found.true.envelopes[found.liar.code]),)
    cover = Cover(transmittal=found.true.transmittal.to_bytes(), nro=found.true.nro, envelopes=swapped)
    return await found.offer(found.true, peer=found.office, cover=cover.to_bytes())


async def anothers_exchange_carried_by_me(found: Scene) -> str:
    return await found.offer(found.true)


async def anothers_transmittal_under_my_signature(found: Scene) -> str:
    return await found.offer(await found.signed(found.true, found.liar), peer=found.office)


async def two_documents_under_one_id(found: Scene) -> str:
    """Office itself is the liar: the first one stands."""
    return await found.offer(await found.write(found.office, found.finance, id=found.exchange), peer=found.office)


# ---- notices


async def a_withdraw_by_somebody_else(found: Scene) -> str:
    return await found.offer(await found.notice(found.liar, "withdraw", found.exchange, found.finance))


async def a_void_by_somebody_else(found: Scene) -> str:
    return await found.offer(await found.notice(found.liar, "void", found.exchange, found.finance))


async def a_supplement_by_somebody_else(found: Scene) -> str:
    outside = {"kind": "supplement", "refs": (found.exchange,)}
    return await found.offer(await found.write(found.liar, found.finance, inside={"exchange": found.exchange}, outside=outside))


async def feedback_by_somebody_who_was_not_addressed(found: Scene) -> str:
    found.office.line.down.discard(found.finance.gateway)
    second = await found.world.send("second")
    found.office.line.down.add(found.finance.gateway)
    return await found.offer(await found.write(found.liar, found.office, outside={"kind": "feedback", "refs": (second,)}), to=found.office)


async def a_withdraw_that_overtakes_its_document(found: Scene) -> str:
    return await found.offer(await found.notice(found.office, "withdraw", found.exchange, found.finance), peer=found.office)


async def a_withdraw_with_an_envelope(found: Scene) -> str:
    notice = await found.notice(found.office, "withdraw", found.exchange, found.finance)
    envelopes = ((found.finance.code, found.true.envelopes[found.finance.code]),)
    cover = Cover(transmittal=notice.transmittal.to_bytes(), nro=notice.nro, envelopes=envelopes)
    return await found.offer(notice, peer=found.office, cover=cover.to_bytes())


# ---- directories, tokens, certificates


async def a_directory_long_replaced(found: Scene) -> str:
    found.world.edit_organisation(found.liar.code, highest_level="internal")
    await found.finance.adopt()
    await found.world.pass_(timedelta(days=8))
    return await found.offer(await found.write(found.liar, found.finance))


async def a_forked_directory(found: Scene) -> str:
    """The version finance has, with other entries, signed by the authority all the same."""
    known = found.finance.rooms.standing.directory
    forked = DirectoryRef(version=known.version, digest=known.digest[:-4] + "0000")
    return await found.offer(await found.write(found.liar, found.finance, outside={"directory": forked}))


async def a_token_by_an_authority_nobody_lists(found: Scene) -> str:
    holder = found.world.pki.issue(Profile.TIME_STAMP, Subject(common_name="Another time authority", organisation_name="Test"))
    letter = await found.write(found.liar, found.finance)
    authority = TimeAuthority(holder.signer, TSA_POLICY, accuracy_ms=500)
    return await _with_nro(found, letter, await stamped(found, letter.transmittal.to_bytes(), found.liar.signing, authority=authority))


async def a_token_over_other_bytes(found: Scene) -> str:
    letter = await found.write(found.liar, found.finance)
    return await _with_nro(found, letter, await stamped(found, letter.transmittal.to_bytes(), found.liar.signing, over=b"other bytes"))


async def a_token_of_long_after(found: Scene) -> str:
    letter = await found.write(found.liar, found.finance)
    await found.world.pass_(timedelta(minutes=30))
    return await _with_nro(found, letter, await stamped(found, letter.transmittal.to_bytes(), found.liar.signing))


async def a_stripped_token(found: Scene) -> str:
    from crypto.signed_data import SignedData, sign_detached

    bare = sign_detached(found.true.transmittal.to_bytes(), found.office.signing.signer, at=found.now)
    assert SignedData.from_der(found.true.nro).token is not None
    return await _with_nro(found, found.true, bare.der, peer="office")


async def _with_nro(found: Scene, letter, nro: bytes, *, peer: str = "health") -> str:
    envelopes = ((found.finance.code, letter.envelopes[found.finance.code]),)
    cover = Cover(transmittal=letter.transmittal.to_bytes(), nro=nro, envelopes=envelopes)
    return await found.offer(letter, cover=cover.to_bytes(), peer=found.world[peer])


async def a_certificate_revoked_before_it_signed(found: Scene) -> str:
    letter = await found.write(found.liar, found.finance)
    _revoke_at_finance(found, timedelta(days=-1))
    return await found.offer(letter)


async def a_certificate_revoked_after_it_signed(found: Scene) -> str:
    letter = await found.write(found.liar, found.finance)
    await found.world.pass_(timedelta(hours=2))
    _revoke_at_finance(found, timedelta(hours=-1))
    return await found.offer(letter)


def _revoke_at_finance(found: Scene, when: timedelta) -> None:
    revoked = [(found.liar.signing.certificate, found.now + when, "keyCompromise")]
    found.finance.believe(found.world.pki.trust_after(revoked, now=found.now))


ATTACKS = (
    Attack(
        act=my_signature_around_anothers_ciphertext,
        word="content-invalid.manifest-sender!",
        reason="content-invalid.manifest-sender",
        counted="content-invalid/manifest-sender",
    ),
    Attack(
        act=my_signature_around_anothers_ciphertext_under_an_id_of_mine,
        word="content-invalid.manifest-exchange!",
        reason="content-invalid.manifest-exchange",
        counted="content-invalid/manifest-exchange",
    ),
    Attack(
        act=a_label_lower_on_the_cover_than_in_the_manifest,
        word="content-invalid.manifest-level!",
        reason="content-invalid.manifest-level",
        counted="content-invalid/manifest-level",
    ),
    Attack(
        act=more_urgent_outside_than_inside,
        word="content-invalid.manifest-urgency!",
        reason="content-invalid.manifest-urgency",
        counted="content-invalid/manifest-urgency",
    ),
    Attack(
        act=anothers_name_in_the_manifest,
        word="content-invalid.manifest-sender!",
        reason="content-invalid.manifest-sender",
        counted="content-invalid/manifest-sender",
    ),
    Attack(act=envelopes_swapped_on_the_way, word="envelope-mismatch", reason="envelope-mismatch"),
    Attack(act=anothers_exchange_carried_by_me, word="not-carrier", reason="not-carrier"),
    Attack(act=anothers_transmittal_under_my_signature, word="signer-not-listed", reason="signer-not-listed"),
    Attack(act=two_documents_under_one_id, word="duplicate-other!", reason="duplicate-other", reached=True),
    Attack(act=a_withdraw_by_somebody_else, word="not-entitled!", reason="not-entitled", reached=True),
    Attack(act=a_void_by_somebody_else, word="not-entitled!", reason="not-entitled", reached=True),
    Attack(act=a_supplement_by_somebody_else, word="not-entitled!", reason="not-entitled", reached=True),
    Attack(act=feedback_by_somebody_who_was_not_addressed, word="not-entitled!", reason="not-entitled"),
    Attack(act=a_withdraw_that_overtakes_its_document, word="notice-not-served!", reason="notice-not-served"),
    Attack(act=a_withdraw_that_overtakes_its_document, word="notice-not-served!", reason="notice-not-served", reached=True),
    Attack(act=a_withdraw_with_an_envelope, word="not-ours", reason="not-ours"),
    Attack(act=a_directory_long_replaced, word="directory-superseded", reason="directory-superseded"),
    Attack(act=a_forked_directory, word="directory-forked", reason="directory-forked"),
    Attack(act=a_token_by_an_authority_nobody_lists, word="token-invalid", reason="token-invalid"),
    Attack(act=a_token_over_other_bytes, word="token-invalid", reason="token-invalid"),
    Attack(act=a_token_of_long_after, word="token-time", reason="token-time"),
    Attack(act=a_stripped_token, word="token-missing", reason="token-missing"),
    Attack(act=a_certificate_revoked_before_it_signed, word="revoked!", reason="revoked"),
    Attack(act=a_certificate_revoked_after_it_signed, word="held", reason="revoked-later", counted="-"),
)


def _name(attack: Attack) -> str:
    return attack.act.__name__ + ("-reached" if attack.reached else "")


@pytest.mark.parametrize("attack", ATTACKS, ids=_name)
async def test_an_arrival_that_lies(tmp_path, attack):
    async with World(tmp_path) as world:
        found = await scene(world, reached=attack.reached)
        assert await attack.act(found) == attack.word
        told = [reason for node in (found.finance, found.office) for reason in reasons(await node.log())]
        assert attack.reason in told
        if attack.counted != "-":
            counted = attack.counted or attack.reason
            assert found.finance.gauges.refusals[counted] + found.office.gauges.refusals[counted] == 1
        await world.settle()
        await found.runs_to_its_end()
        assert not [letter for letter in found.finance.office.inbox.values() if letter.delivery.sender_org == found.liar.code]


# ---- one id, two senders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
async def test_anothers_exchange_id_taken(tmp_path, first):
    """An id names an exchange only together with its sender: both arrive, and what is done to one is not done to the other."""
    async with World(tmp_path) as world:
        found = await scene(world, reached=not first)
        finance, liar, exchange = found.finance, found.liar, found.exchange
        letter = await found.write(liar, finance, id=exchange)
        assert await found.offer(letter) == "accepted"
        await world.settle()
        if first:
            await found.accepted()
        long = f"{exchange}-{(found.office if first else liar).code}"
        names = {row.sender_org: row.name for row in await finance.rooms.ledger.beginning(exchange)}
        assert names == {liar.code: exchange if first else long, found.office.code: long if first else exchange}
        assert {name: finance.office.inbox[name].delivery.document.title for name in names.values()} == {
            names[liar.code]: "另一份公文",
            names[found.office.code]: TRUE_TITLE,
        }
        await finance.restart()
        finance.office.send_back(names[liar.code], "不是我们的")
        await world.settle()
        assert await finance.state("in", f"{exchange}-{liar.code}") == "RETURNED"
        assert await finance.state("in", f"{exchange}-{found.office.code}") == "DELIVERED"
        assert await found.office.state("out", exchange, finance.code) == "DELIVERED"
        assert await found.offer(letter) == "accepted", "the first answer, again"
        await found.runs_to_its_end()
        assert await finance.state("in", f"{exchange}-{liar.code}") == "RETURNED"
        assert not [leaf for leaf in await finance.log() if "contradiction" in leaf or "duplicate" in leaf]


async def test_the_id_of_an_exchange_we_sent_ourselves(tmp_path):
    """A recipient answers with an exchange under our own id: ours stands, and so does theirs."""
    async with World(tmp_path) as world:
        found = await scene(world, reached=True)
        office, liar = found.office, found.liar
        assert await found.offer(await found.write(liar, office, id=found.exchange), to=office) == "accepted"
        await world.settle()
        assert await office.state("in", f"{found.exchange}-{liar.code}") == "DELIVERED"
        assert await office.state("out", found.exchange, found.finance.code) == "DELIVERED"
        office.office.sign_for(found.exchange)
        await world.settle()
        assert await office.state("in", f"{found.exchange}-{liar.code}") == "SIGNED_FOR"
        assert await office.state("out", found.exchange, found.finance.code) == "DELIVERED"
        await found.runs_to_its_end()


async def test_the_same_id_from_two_senders_in_one_moment(tmp_path):
    """In one commit, or whatever the order: one gets the id for a name, the other its own."""
    import asyncio

    async with World(tmp_path) as world:
        found = await scene(world)
        mine = await found.write(found.liar, found.finance, id=found.exchange)
        answers = await asyncio.gather(found.offer(mine), found.offer(found.true, peer=found.office), found.offer(mine))
        assert answers == ["accepted"] * 3
        await world.settle()
        assert len(found.finance.office.inbox) == 2
        await found.runs_to_its_end()


# ---- uploads ---------------------------------------------------------------------------------------------------------------------


async def test_a_foreign_upload_probed_and_continued(tmp_path):
    async with World(tmp_path) as world:
        office, finance, liar = world["office"], world["finance"], world["health"]
        office.line.faults.append(Fault(kind="cut", after=MIB))
        office.line.down.add(liar.gateway)
        content = bytes(3 * MIB)
        exchange = await world.send(to=("finance", "health"), parts=[("正文.pdf", content)])
        (upload,) = finance.rooms.uploads.all()
        transmittal_digest, before = upload.key.partition("/")[2], upload.offset
        assert before >= MIB
        arrivals = finance.journey.inbound
        for attempt in (
            lambda: arrivals.offset(liar.gateway, exchange, transmittal_digest),
            lambda: arrivals.append(liar.gateway, exchange, transmittal_digest, before, pieces(b"rubbish")),
        ):
            with pytest.raises(ProblemError) as refused:
                await attempt()
            assert (refused.value.problem, refused.value.retryable) == ("not-found", False)
        assert (await finance.log())[-2:] == ["refused:foreign-upload"] * 2
        assert finance.gauges.refusals["foreign-upload"] == 2
        (upload,) = finance.rooms.uploads.all()
        assert upload.offset == before
        office.line.down.clear()
        await world.retry()
        for node in (finance, liar):
            assert node.delivered(exchange) == (content,)
            node.office.sign_for(exchange)
        await world.settle()
        assert await office.state("out", exchange, finance.code) == "SIGNED_FOR"


async def test_an_upload_nobody_has_is_no_lie(tmp_path):
    """To ask whether one is still there is ordinary."""
    async with World(tmp_path) as world:
        found = await scene(world)
        before = await found.finance.log()
        with pytest.raises(ProblemError):
            await found.finance.journey.inbound.offset(found.office.gateway, found.exchange, "sha256:" + "0" * 64)
        assert await found.finance.log() == before
        await found.runs_to_its_end()
