"""The pilot authority: what it publishes holds under the rules everyone else applies, and every change follows from the one before."""

import dataclasses
import os
import shutil
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crypto.certificates import ChainCache, CrlStale, Purpose, Revoked, Trust
from crypto.crls import Crl
from crypto.errors import Unverified
from crypto.keys import PrivateKey
from crypto.suites import GM_1, INTL_1, SUITES
from gateway.config import split_address
from gateway.core.directory import Directory, Equivocation
from gateway.core.errors import BadConfiguration, BadInput
from gateway.core.organisation import BadOrganisationCode, check_character
from gateway.founding import PORTS, free_address
from gateway.pilot import Application, PilotAuthority
from gateway.pilot_directory import read_version
from gateway.pilot_records import SerialNumbers, read_record

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)


def code(number: int) -> str:
    first = f"1144010000{number:07d}"
    return first + check_character(first)


def application(number: int = 1, **changes) -> Application:
    keys = {suite: PrivateKey.generate(SUITES[suite]).public for suite in SUITES}
    base = Application(
        code=code(number),
        name=f"第{number}局",
        gateway=f"gw-{number}",
        peer=f"127.0.0.1:{17000 + number}",
        zone="pilot",
        highest_level="work-secret",
        signing=keys,
        encryption={suite: PrivateKey.generate(SUITES[suite]).public for suite in SUITES},
        tls=PrivateKey.generate(INTL_1).public,
        log_keys=(),
    )
    return dataclasses.replace(base, **changes)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Path:
    """Made once: five keys and their encryption take a second."""
    return PilotAuthority.create(tmp_path_factory.mktemp("fresh") / "authority", suite="gm-1", listen="127.0.0.1:17999", at=NOW).folder


@pytest.fixture
def authority(fresh, tmp_path) -> PilotAuthority:
    return PilotAuthority.open(shutil.copytree(fresh, tmp_path / "authority", symlinks=True))


def trust(authority: PilotAuthority) -> ChainCache:
    roots = tuple(authority.certificate(f"root-{suite}") for suite in SUITES)
    return ChainCache(Trust(roots=roots, crls=tuple((authority.public / "crl" / f"{suite}.crl").read_bytes() for suite in SUITES)))


def opened(authority: PilotAuthority, now: datetime = NOW, previous: Directory | None = None) -> Directory:
    bundle, _ = read_version(authority.public / "directory")
    return Directory.open(
        bundle.head,
        bundle.signature,
        bundle.entries,
        chains=trust(authority),
        authority=authority.certificate("directory"),
        now=now,
        previous=previous,
    )


@pytest.mark.parametrize("suite", SUITES)
def test_each_suite_may_sign_the_directory(tmp_path, suite):
    authority = PilotAuthority.create(tmp_path / "authority", suite=suite, listen="127.0.0.1:17999", at=NOW)
    directory = opened(authority)
    assert directory.version == 1
    assert directory.digest.startswith(SUITES[suite].digest + ":")
    assert directory.time_authority_fingerprints(GM_1) == {authority.certificate("tsa-gm-1").fingerprint}
    assert directory.time_authority_fingerprints(INTL_1) == {authority.certificate("tsa-intl-1").fingerprint}


def test_enrolment_gives_certificates_everyone_believes(authority):
    given = authority.enrol(application(), at=NOW)
    chains, directory = trust(authority), opened(authority)
    for name, certificate in given.certificates.items():
        purpose = Purpose.TLS if name == "tls" else Purpose.SIGN if name.startswith("sign") else Purpose.ENCRYPT
        chains.verify(certificate, at=NOW, now=NOW, purpose=purpose)
        assert certificate.organisation == code(1)
    for suite in SUITES.values():
        assert directory.signing_certificates(code(1), suite) == (given.certificates[f"sign-{suite.id}"],)
        assert directory.encryption_certificate(code(1), suite) == given.certificates[f"encrypt-{suite.id}"]
    assert directory.tls_fingerprints("gw-1") == {given.certificates["tls"].fingerprint}
    assert given.certificates["tls"].uris == ("urn:yizhan:gateway:gw-1",)
    assert directory.gateway("gw-1").links[0].url == "https://127.0.0.1:17001"
    assert given.directory.version == directory.version == 2


def test_versions_form_a_chain(authority):
    first = opened(authority)
    authority.enrol(application(1), at=NOW)
    second = opened(authority, previous=first)
    authority.enrol(application(2), at=NOW)
    third = opened(authority, previous=second)
    assert [first.version, second.version, third.version] == [1, 2, 3]
    assert third.head.prev == second.digest
    assert {entry.code for entry in third.organisations} == {code(1), code(2)}


def test_enrolling_again_replaces_the_entry(authority):
    authority.enrol(application(), at=NOW)
    again = authority.enrol(application(peer="127.0.0.1:18000"), at=NOW)
    directory = opened(authority)
    assert len(directory.organisations) == 1
    assert directory.signing_certificates(code(1), GM_1) == (again.certificates["sign-gm-1"],)
    assert directory.gateway("gw-1").links[0].url == "https://127.0.0.1:18000"


@pytest.mark.parametrize(("purpose", "name"), [("sign", "sign-gm-1"), ("encrypt", "encrypt-intl-1"), ("tls", "tls")])
def test_a_revoked_certificate_is_revoked_and_unlisted(authority, purpose, name):
    given = authority.enrol(application(), at=NOW)
    later = NOW + timedelta(hours=1)
    assert authority.revoke(code(1), purpose, at=later) == (1 if purpose == "tls" else 2)
    at_purpose = {"sign": Purpose.SIGN, "encrypt": Purpose.ENCRYPT, "tls": Purpose.TLS}[purpose]
    chains, directory = trust(authority), opened(authority, later)
    with pytest.raises(Revoked):
        chains.verify(given.certificates[name], at=later, now=later, purpose=at_purpose)
    assert chains.verify(given.certificates[name], at=NOW, now=later, purpose=at_purpose).revoked_later == later
    listed = {
        "sign": directory.signing_certificates(code(1), GM_1),
        "encrypt": directory.encryption_certificates(code(1), INTL_1),
        "tls": directory.tls_fingerprints("gw-1"),
    }
    assert not listed[purpose]
    assert all(value for use, value in listed.items() if use != purpose)
    with pytest.raises(BadInput):
        authority.revoke(code(1), purpose, at=later)


def test_refresh_waits_a_day(authority):
    assert not authority.refresh(at=NOW + timedelta(hours=23))
    assert authority.refresh(at=NOW + timedelta(hours=25))
    assert not authority.refresh(at=NOW + timedelta(hours=26))
    assert authority.refresh(at=NOW + timedelta(hours=26), force=True)
    numbers = [Crl.from_der((authority.public / "crl" / f"{suite}.crl").read_bytes()).number for suite in SUITES]
    assert numbers == [3, 3]
    assert opened(authority, NOW + timedelta(hours=26)).version == 3
    with pytest.raises(CrlStale):
        opened(authority, NOW + timedelta(days=9))


def test_a_crash_after_the_record_signs_no_version_twice(authority, monkeypatch):
    """Killed between the record and the link: the former version stays in force and the next number is a new one."""
    before = opened(authority)

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("gateway.pilot.write_version", crash)
        with pytest.raises(KeyboardInterrupt):
            authority.enrol(application(1), at=NOW)
    assert opened(authority).version == before.version == 1
    assert read_record(authority.folder).directory_version == 2
    authority.enrol(application(1), at=NOW)
    after = opened(authority, previous=before)
    assert after.version == 3
    assert after.organisation(code(1))


def test_two_commands_at_once_both_count(authority):
    applications = [application(number) for number in range(1, 6)]
    threads = [
        threading.Thread(target=PilotAuthority.open(authority.folder).enrol, args=(each,), kwargs={"at": NOW}) for each in applications
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    directory = opened(authority)
    assert directory.version == 6
    assert {entry.code for entry in directory.organisations} == {each.code for each in applications}


def test_readers_see_a_whole_version_at_any_moment(authority):
    """A reader through the link, racing the publisher, never finds a head without its entries."""
    stop, problems = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            place = Path(os.path.realpath(authority.public / "directory"))
            try:
                read_version(place)
            except Exception as error:  # noqa: BLE001  # whatever it is, the test tells it
                problems.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(5):
        authority.refresh(at=NOW, force=True)
    stop.set()
    reader.join()
    assert problems == []


def test_another_authority_with_the_same_names_is_not_believed(authority, tmp_path):
    """Equal names, other keys: the directory of a stranger."""
    ours = opened(authority)
    stranger = PilotAuthority.create(tmp_path / "stranger", suite="gm-1", listen="127.0.0.1:17999", at=NOW)
    bundle, _ = read_version(stranger.public / "directory")
    arguments = {"chains": trust(authority), "authority": authority.certificate("directory"), "now": NOW}
    with pytest.raises(Unverified):
        Directory.open(bundle.head, bundle.signature, bundle.entries, **arguments)
    with pytest.raises(Equivocation):
        opened(stranger, previous=ours)


def test_what_enrols_nobody(authority):
    with pytest.raises(BadOrganisationCode):
        authority.enrol(application(code=code(1)[:-1] + "Z"), at=NOW)
    assert opened(authority).version == 1


def test_homes_ask_over_a_lasting_connection_first_where_there_is_one(tmp_path):
    old = PilotAuthority.create(tmp_path / "old", suite="gm-1", listen="127.0.0.1:17999", at=NOW)
    assert b"stream" not in (old.folder / "authority.json").read_bytes()  # as written before there were such ports
    assert PilotAuthority.open(old.folder).time_urls("gm-1") == ("http://127.0.0.1:17999/tsa/gm-1",)
    new = PilotAuthority.create(tmp_path / "new", suite="gm-1", listen="127.0.0.1:17999", stream="127.0.0.1:17998", at=NOW)
    new.enrol(application(), at=NOW)
    assert PilotAuthority.open(new.folder).time_urls("gm-1") == ("tsp://127.0.0.1:17998", "http://127.0.0.1:17999/tsa/gm-1")


def test_an_authority_is_never_overwritten(authority):
    with pytest.raises(BadInput):
        PilotAuthority.create(authority.folder, suite="gm-1", listen="127.0.0.1:1", at=NOW)
    with pytest.raises(BadConfiguration):
        PilotAuthority.open(authority.folder.parent)


def test_serial_numbers_never_repeat(tmp_path):
    seen = [SerialNumbers(tmp_path).next() for _ in range(3)]
    one = SerialNumbers(tmp_path)
    seen += [one.next() for _ in range(SerialNumbers.BLOCK + 5)]
    seen.append(SerialNumbers(tmp_path).next())
    assert len(set(seen)) == len(seen)
    assert seen == sorted(seen)


def test_free_addresses_are_local_and_distinct():
    first = free_address()
    second = free_address([first])
    assert first != second
    assert all(split_address(address)[1] in PORTS for address in (first, second))
