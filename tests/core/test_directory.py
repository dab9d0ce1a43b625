"""A directory is believed only whole: signature, succession, time, entries; then it answers by name."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from crypto.ca import Profile, Subject
from crypto.certificates import CrlStale, Revoked
from crypto.digests import digest
from crypto.errors import Malformed, Unverified
from crypto.suites import GM_1, INTL_1, Suite
from gateway.core.directory import (
    AuthorityEntry,
    DirectoryError,
    DirectoryExpired,
    DirectoryHead,
    EntryRef,
    Equivocation,
    GatewayEntry,
    NotListed,
    Older,
    OrganisationEntry,
    certificate_text,
    parse_certificate_text,
)
from gateway.core.organisation import BadOrganisationCode
from tests.core.samples import some_digest
from tests.core.worlds import Published, entries_of, gateway_entry, organisation_entry, publish
from tests.crypto.pki import Pki, pki_for


@pytest.fixture(params=[GM_1, INTL_1], ids=lambda suite: suite.id)
def suite(request: pytest.FixtureRequest) -> Suite:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def pki(suite: Suite) -> Pki:
    return pki_for(suite)


INTL = pki_for(INTL_1)
PUBLISHED = publish(INTL)


def test_it_answers_by_name(pki: Pki, suite: Suite) -> None:
    published = publish(pki)
    directory = published.open()
    office = pki.office
    assert (directory.version, directory.digest) == (1, digest(suite.digest, published.head))
    assert directory.issued < directory.expires
    assert directory.organisation(office.code).names.zh == office.name
    assert {entry.code for entry in directory.organisations} == {organisation.code for organisation in pki.organisations}
    assert directory.gateway(office.gateway).organisations == (office.code,)
    assert directory.gateway(office.gateway).tls_uri == "urn:yizhan:gateway:gw-office"
    assert directory.gateways_of(office.code) == (directory.gateway(office.gateway),)
    assert directory.gateways_of("nobody") == ()
    assert directory.tls_fingerprints(office.gateway) == {office.tls.certificate.fingerprint}
    assert directory.tls_fingerprints("gw-unknown") is None
    assert directory.signing_fingerprints(office.code, suite) == {office.signing.certificate.fingerprint}
    assert directory.encryption_certificate(office.code, suite) == office.encryption.certificate
    assert [entry.id for entry in directory.time_authorities] == ["tsa"]
    everyone = directory.time_authority_fingerprints(suite)
    assert everyone == directory.time_authority_fingerprints(suite, ("tsa", "other")) == {pki.tsa.certificate.fingerprint}
    assert directory.time_authority_fingerprints(suite, ("other",)) == frozenset()


def test_a_certificate_of_one_suite_is_not_listed_in_the_other(pki: Pki, suite: Suite) -> None:
    directory = publish(pki).open()
    other = GM_1 if suite is INTL_1 else INTL_1
    assert directory.signing_certificates(pki.office.code, other) == ()
    assert directory.time_authority_fingerprints(other) == frozenset()
    with pytest.raises(NotListed):
        directory.encryption_certificate(pki.office.code, other)


def test_who_is_not_listed() -> None:
    directory = PUBLISHED.open()
    for ask in (directory.organisation, directory.gateway, lambda name: directory.signing_certificates(name, INTL_1)):
        with pytest.raises(NotListed):
            ask("nobody")
    assert issubclass(NotListed, DirectoryError)


# ---- signature ---------------------------------------------------------------------------------------------------------------------


def test_the_signature_must_hold_and_be_the_authoritys() -> None:
    flipped = bytearray(PUBLISHED.head)
    flipped[flipped.index(b"sha256:") + 10] ^= 1
    with pytest.raises((Unverified, Malformed)):
        replace(PUBLISHED, head=bytes(flipped)).open()
    with pytest.raises(Unverified):
        PUBLISHED.signed_anew(PUBLISHED.head, INTL.office.signing.signer).open()
    twin = INTL.issue(Profile.DIRECTORY, Subject(common_name="Another directory authority", organisation_name="Test"))
    with pytest.raises(Unverified):
        PUBLISHED.signed_anew(PUBLISHED.head, twin.signer).open()


def test_the_authoritys_chain_must_hold_now() -> None:
    revoked = replace(INTL, trust=INTL.trust_after([(INTL.directory.certificate, INTL.now - timedelta(hours=1), "keyCompromise")]))
    with pytest.raises(Revoked):
        replace(PUBLISHED, pki=revoked).open()
    with pytest.raises(CrlStale):
        PUBLISHED.open(now=INTL.now + timedelta(days=8))


# ---- succession --------------------------------------------------------------------------------------------------------------------


def _next(published: Published, **changes: Any) -> Published:
    head = DirectoryHead.from_bytes(published.head)
    fields = {"version": head.version + 1, "prev": digest("sha256", published.head)} | changes
    return published.signed_anew(msgspec.structs.replace(head, **fields))


def test_versions_follow_each_other() -> None:
    first = PUBLISHED.open()
    second_published = _next(PUBLISHED)
    second = second_published.open(previous=first)
    assert second.version == 2
    assert PUBLISHED.open(previous=first).digest == first.digest  # the same again
    later = _next(second_published, version=9, prev=some_digest("eight"))
    assert later.open(previous=first).version == 9  # with a gap the predecessor is not known here
    with pytest.raises(Older):
        PUBLISHED.open(previous=second)


def test_one_version_with_two_contents_is_equivocation() -> None:
    first = PUBLISHED.open()
    twin = publish(INTL, days=29)
    with pytest.raises(Equivocation) as caught:
        twin.open(previous=first)
    assert (caught.value.known, caught.value.found) == (first.digest, digest("sha256", twin.head))
    with pytest.raises(Equivocation):
        _next(PUBLISHED, prev=some_digest("another past")).open(previous=first)


# ---- time --------------------------------------------------------------------------------------------------------------------------


def test_it_is_in_force_from_issue_to_expiry() -> None:
    PUBLISHED.open(now=INTL.now - timedelta(seconds=59))
    short = publish(INTL, days=1)
    short.open(now=INTL.now + timedelta(days=1) - timedelta(seconds=1))
    for now in (INTL.now - timedelta(seconds=61), INTL.now + timedelta(days=1)):
        with pytest.raises(DirectoryExpired):
            short.open(now=now)


# ---- entries -----------------------------------------------------------------------------------------------------------------------


def test_every_entry_must_be_there_and_be_itself() -> None:
    names = list(PUBLISHED.entries)
    with pytest.raises(DirectoryError):
        replace(PUBLISHED, entries={name: PUBLISHED.entries[name] for name in names[1:]}).open()
    swapped = PUBLISHED.entries | {names[0]: PUBLISHED.entries[names[1]]}
    with pytest.raises(Unverified):
        replace(PUBLISHED, entries=swapped).open()


def test_an_entry_listed_under_a_foreign_name_is_refused() -> None:
    head = DirectoryHead.from_bytes(PUBLISHED.head)
    first = head.entries[-1]
    renamed = EntryRef(id=first.id[:-1] + ("0" if first.id[-1] != "0" else "1"), digest=first.digest)
    entries = tuple(sorted((*head.entries[:-1], renamed), key=lambda ref: ref.id))
    with pytest.raises(Unverified):
        PUBLISHED.signed_anew(msgspec.structs.replace(head, entries=entries)).open()


def test_digests_of_the_other_algorithm_are_refused() -> None:
    other = pki_for(GM_1)
    mixed = publish(INTL).signed_anew(publish(other).head)
    with pytest.raises((DirectoryError, Unverified)):
        replace(mixed, entries=publish(other).entries).open()


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 0},
        {"version": 2},
        {"prev": some_digest("x")},
        {"expires": "2026-03-02T08:00:00Z"},
        {"entries": tuple(reversed(DirectoryHead.from_bytes(PUBLISHED.head).entries))},
        {"entries": DirectoryHead.from_bytes(PUBLISHED.head).entries[:1] * 2},
        {"entries": (EntryRef(id="root/x", digest=some_digest("x")),)},
    ],
)
def test_a_head_refuses(changes: dict[str, Any]) -> None:
    head = DirectoryHead.from_bytes(PUBLISHED.head)
    with pytest.raises(Malformed):
        msgspec.structs.replace(head, **changes).to_bytes()


OFFICE = organisation_entry(INTL.office, INTL_1)


@pytest.mark.parametrize(
    "changes",
    [{"suites": ()}, {"suites": ("intl-1", "gm-1")}, {"zone": "外网"}, {"highest_level": "all"}, {"signing": ("x" * 8193,)}],
)
def test_an_organisation_refuses(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        msgspec.structs.replace(OFFICE, **changes).to_bytes()


def test_an_organisations_code_has_its_check_character() -> None:
    with pytest.raises(BadOrganisationCode):
        OrganisationEntry.from_bytes(OFFICE.to_bytes().replace(INTL.office.code.encode(), INTL.office.code[:-1].encode() + b"0"))


def test_a_gateway_refuses() -> None:
    entry = gateway_entry(INTL.office)
    assert GatewayEntry.from_bytes(entry.to_bytes()) == entry
    for changes in (
        {"organisations": (INTL.office.code, INTL.office.code)},
        {"tls": ("00",)},
        {"log_keys": ("no key",)},
        {"links": ({"kind": "http", "url": "http://x"},)},
    ):
        with pytest.raises(Malformed):
            GatewayEntry.from_bytes(msgspec.json.encode(msgspec.json.decode(entry.to_bytes()) | changes, order="sorted"))


# ---- which certificates count ------------------------------------------------------------------------------------------------------


def test_a_certificate_counts_only_for_its_own_organisation_and_purpose(pki: Pki, suite: Suite) -> None:
    foreign = certificate_text(pki.finance.signing.certificate)
    encrypting, signing = (certificate_text(holder.certificate) for holder in (pki.office.encryption, pki.office.signing))
    entry = msgspec.structs.replace(organisation_entry(pki.office, suite), signing=(foreign, encrypting), encryption=(signing,))
    rest = [other for other in entries_of(pki) if other.entry_id != entry.entry_id]
    directory = publish(pki, [entry, *rest]).open()
    assert directory.signing_certificates(pki.office.code, suite) == ()
    assert directory.encryption_certificates(pki.office.code, suite) == ()


@pytest.mark.parametrize("text", ["AAAA", "no base64", "MAA="])
def test_a_certificate_that_cannot_be_read_does_not_count_and_hides_no_other(pki: Pki, suite: Suite, text: str) -> None:
    old = organisation_entry(pki.office, suite)
    organisation = msgspec.structs.replace(old, signing=(text, *old.signing), encryption=(text, *old.encryption))
    time = AuthorityEntry(id="tsa", kind="time", certificates=(text, certificate_text(pki.tsa.certificate)))
    directory = publish(pki, [organisation, time]).open()
    assert directory.signing_certificates(pki.office.code, suite) == (pki.office.signing.certificate,)
    assert directory.encryption_certificate(pki.office.code, suite) == pki.office.encryption.certificate
    assert directory.time_authority_fingerprints(suite) == {pki.tsa.certificate.fingerprint}


def test_the_first_encryption_certificate_is_the_current_one(pki: Pki, suite: Suite) -> None:
    subject = Subject(common_name="new", organisation_name="new", organisation_code=pki.office.code)
    newer = pki.issue(Profile.ENCRYPT, subject).certificate
    old = organisation_entry(pki.office, suite)
    entry = msgspec.structs.replace(old, encryption=(certificate_text(newer), *old.encryption))
    rest = [other for other in entries_of(pki) if other.entry_id != entry.entry_id]
    directory = publish(pki, [entry, *rest]).open()
    assert directory.encryption_certificate(pki.office.code, suite) == newer
    assert len(directory.encryption_certificates(pki.office.code, suite)) == 2


def test_a_certificate_has_one_spelling() -> None:
    text = OFFICE.signing[0]
    assert parse_certificate_text(text) == INTL.office.signing.certificate
    for other in (text + "\n", text[:-4], " " + text, "!" + text[1:], "AAAA"):
        with pytest.raises(Malformed):
            parse_certificate_text(other)
    with pytest.raises(Malformed):
        parse_certificate_text("AB==")  # unused bits set
