"""Targets that know who sent the bytes: a member of the network with valid certificates signs, seals and stamps whatever they are.

What a stranger sends ends at the first check. These go as far as the member can bring them: the eight checks on a transmittal, the opening
of content whose digests hold, the judging of a receipt.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from pathlib import Path

import msgspec

from crypto.certificates import CrlStale
from crypto.content_cipher import ContentEncryptor, ContentKey
from crypto.digests import digest
from crypto.envelopes import make_envelope
from crypto.errors import Malformed, Unverified
from crypto.signed_data import sign_detached
from crypto.timestamps import make_request, token_from_response
from gateway.core.canonical import format_time
from gateway.core.cover import Cover
from gateway.core.errors import ProblemError
from gateway.core.exchange import Event
from gateway.core.explain import Reason
from gateway.core.policy.load import load_policy
from gateway.core.receipt import Receipt
from gateway.core.transmittal import ContentRef, DirectoryRef, NotEntitled, Transmittal
from gateway.flow.opening import Examined, HeldBack, Refused, examine, open_content
from gateway.flow.ports import SignedReceipt
from gateway.flow.standing import DirectoryPapers, NotInForce, Standing
from gateway.flow.witness import judge
from tests.core import samples
from tests.core.worlds import publish
from tests.crypto.pki import NOW
from tests.fuzz.good import Good, both, good, storage_key
from tests.fuzz.target import Target

_POLICY = Path(__file__).resolve().parents[2] / "policies" / "default.toml"
_NAME_END = 30 + len("manifest.json")  # where the manifest's bytes begin: behind the first local header of the content


@cache
def _standing(suite_id: str) -> Standing:
    """The finance office's gateway, in a small town of that suite."""
    pki = good(suite_id).pki
    published = publish(pki)
    mine, policy = pki.finance, _POLICY.read_bytes()
    return Standing(
        organisation=mine.code,
        gateway=mine.gateway,
        name=mine.name,
        signers={suite_id: mine.signing.signer},
        unwrappers={suite_id: (mine.encryption.unwrapper,)},
        storage_key=storage_key(),
        policy=load_policy(policy),
        policy_bytes=policy,
        directory=published.open(),
        papers=DirectoryPapers(head=published.head, signature=published.signature, entries=published.entries),
        chains=pki.cache,
    )


@cache
def _transmittal(suite_id: str) -> Transmittal:
    """A document for the finance office, under the directory in force."""
    directory = _standing(suite_id).directory
    ref = DirectoryRef(version=directory.version, digest=directory.digest)
    until = format_time(NOW + timedelta(days=20))
    return msgspec.structs.replace(good(suite_id).transmittal, directory=ref, created=format_time(NOW), expires=until)


def _check_reasons(*families: tuple[Reason, ...]) -> None:
    for reason in (reason for family in families for reason in family):
        assert reason.zh and reason.en and reason.fix and reason.fix_zh


def _of(data: bytes) -> Good:
    """Whose world these bytes are of."""
    return good("gm-1" if b"gm-1" in data or b'"sm3:' in data else "intl-1")


# ---- a transmittal -------------------------------------------------------------------------------------------------------------------


def _arrival(data: bytes) -> None:
    """The member signs these bytes for a transmittal, has the signature stamped and sends them from its own gateway: checks 1 to 8."""
    each = _of(data)
    pki = each.pki
    signed = sign_detached(data, pki.office.signing.signer, at=pki.now)
    request = make_request(each.suite.digest, signed.signature, nonce=1)
    nro = signed.with_token(token_from_response(pki.authority.respond(request, at=pki.now, serial=1)))
    cover = Cover(transmittal=data, nro=nro.der, envelopes=((pki.finance.code, each.envelope),))
    examined = examine(cover, pki.office.gateway, _standing(each.suite.id), pki.now)
    assert examined.transmittal_bytes == data
    assert examined.clearance is None or not examined.hold
    _check_reasons(examined.hold, examined.refusal)


def _arrivals() -> Sequence[bytes]:
    return [_transmittal(each.suite.id).to_bytes() for each in both()]


# ---- content ---------------------------------------------------------------------------------------------------------------------------


def _opened(data: bytes) -> None:
    """The member seals these bytes for content, and every digest it signs for is right: checks 10 to 12."""
    each = _of(data)
    suite, standing = each.suite, _standing(each.suite.id)
    bare = ContentKey(suite=suite, key=b"k" * suite.content_key_length, nonce=b"n" * 12)
    encryptor = ContentEncryptor(bare)
    sealed = encryptor.update(data)
    envelope = make_envelope(bare.with_tag(encryptor.finalize()), each.pki.finance.encryption.certificate)
    size = int.from_bytes(data[18:22], "little")
    manifest = digest(suite.digest, data[_NAME_END : _NAME_END + min(size, len(data))])
    content = ContentRef(manifest=manifest, sealed=digest(suite.digest, sealed), size=max(1, len(sealed)))
    examined = Examined(
        transmittal=msgspec.structs.replace(_transmittal(suite.id), content=content),
        transmittal_bytes=each.message,
        digest=digest(suite.digest, each.message),
        suite=suite,
        nro=each.nro.der,
        stamped_at=NOW,
        directory=standing.directory,
        envelopes=((each.pki.finance.code, envelope),),
        clearance=None,
    )
    try:
        opened = open_content(examined, iter([sealed]), standing, NOW)
    except (Refused, HeldBack) as error:
        _check_reasons(error.reasons)
        raise
    assert opened.parts is not None
    assert [entry for entry, _ in opened.parts] == list(opened.manifest.parts)
    assert all(len(body) == entry.size and body in data for entry, body in opened.parts)


def _contents() -> Sequence[bytes]:
    two = [samples.packed(("正文.pdf", b"%PDF body"), ("附件.txt", b"a"), suite=each.suite.id)[0] for each in both()]
    return [*two, samples.packed(("a.ofd", b""))[0]]


# ---- a receipt -------------------------------------------------------------------------------------------------------------------------


def _statement(data: bytes) -> None:
    """The recipient signs these bytes for a receipt about what the office sent it."""
    receipt = Receipt.from_bytes(data)
    each = _of(data)
    transmittal = _transmittal(each.suite.id)
    signature = sign_detached(data, each.pki.finance.signing.signer, at=NOW).der
    told = digest(each.suite.digest, transmittal.to_bytes())
    judged = judge(SignedReceipt(body=data, signature=signature), receipt, transmittal, told, _standing(each.suite.id), NOW)
    assert judged.receipt.by.org == each.pki.finance.code, "a receipt by another than who signed it"
    assert judged.receipt.recipient in (None, each.pki.finance.code)


def _statements() -> Sequence[bytes]:
    found = []
    for each in both():
        transmittal = _transmittal(each.suite.id)
        assert transmittal.content is not None
        for event in (Event.CONSIGNMENT, Event.RETURNED):
            told = digest(each.suite.digest, transmittal.to_bytes())
            found.append(samples.receipt(event, transmittal=told, sealed=transmittal.content.sealed).to_bytes())
    return found


_JUDGED = (Malformed, Unverified, NotEntitled, ProblemError, NotInForce, CrlStale)

MEMBER_TARGETS = (
    Target(name="arrival", run=_arrival, errors=(ProblemError, Malformed), seeds=_arrivals, shape="json", milliseconds=40, slow=True),
    Target(
        name="opened", run=_opened, errors=(ProblemError, Refused, HeldBack), seeds=_contents, shape="bytes", milliseconds=40, slow=True
    ),
    Target(name="statement", run=_statement, errors=_JUDGED, seeds=_statements, shape="json", milliseconds=40, slow=True),
)
