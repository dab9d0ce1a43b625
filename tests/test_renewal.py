"""What a gateway goes on believing: which kept directories still count, which revocation list may replace which."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crypto.ca import IssuingAuthority
from crypto.certificates import ChainCache, Purpose, Revoked, Trust
from crypto.crls import Crl
from crypto.errors import Unverified
from crypto.suites import INTL_1
from gateway.core.errors import ProblemError
from gateway.core.transmittal import DirectoryRef
from gateway.doctor import _Patient, _trust
from gateway.flow.standing import Standing
from gateway.founding import Plan, found, free_address
from gateway.home import DirectoryBundle, Home
from gateway.pilot import PilotAuthority
from gateway.pilot_directory import read_version
from gateway.renewal import keep_crl, older_directories, open_directory

ORG = "11440100007482151C"
POLICY = (Path(__file__).resolve().parents[1] / "policies" / "default.toml").read_bytes()
BEGIN = datetime.now(UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def founded(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("renewal")
    authority = PilotAuthority.create(folder / "authority", suite="intl-1", listen=free_address(), at=BEGIN)
    plan = Plan(organisation=ORG, name="市政府办公室", suites=("intl-1",), zone="pilot", highest_level="work-secret", policy=POLICY)
    found(folder / "home", plan, authority, at=BEGIN)
    return folder


@pytest.fixture
def home(founded, tmp_path) -> Home:
    return Home.open(shutil.copytree(founded / "home", tmp_path / "home"))


@pytest.fixture
def authority(founded, tmp_path) -> PilotAuthority:
    return PilotAuthority.open(shutil.copytree(founded / "authority", tmp_path / "authority", symlinks=True))


def publish(authority: PilotAuthority, home: Home, at: datetime) -> DirectoryBundle:
    authority.refresh(at=at, force=True)
    bundle, _ = read_version(authority.public / "directory")
    home.keep_directory(bundle)
    return bundle


# ---- directories -----------------------------------------------------------------------------------------------------------------


def test_every_kept_directory_that_is_not_over_is_known_after_a_start(home, authority):
    first = home.directory()
    second, third = (publish(authority, home, BEGIN + number * DAY) for number in (1, 2))
    assert [bundle.version for bundle in home.directories()] == [third.version, second.version, first.version]
    now = BEGIN + 3 * DAY
    assert [directory.version for directory in older_directories(home, now)] == [second.version, first.version]
    assert [directory.version for directory in older_directories(home, BEGIN + 30 * DAY + DAY / 2)] == [second.version]


def test_a_transmittal_made_under_an_older_directory_is_still_accepted(home, authority):
    """What ``app`` builds at a start: without the older ones every document on its way would be turned back."""
    older = home.directory()
    publish(authority, home, BEGIN + DAY)
    now, chains = BEGIN + 2 * DAY, ChainCache(home.trust())
    directory, papers = open_directory(home, home.directory(), chains, now)
    policy, policy_bytes = home.policy()
    standing = Standing(
        organisation=ORG,
        gateway=home.config.gateway.id,
        name="",
        signers=home.signers(),
        unwrappers=home.unwrappers(),
        storage_key=home.storage_key(),
        policy=policy,
        policy_bytes=policy_bytes,
        directory=directory,
        papers=papers,
        chains=chains,
    )
    (known,) = older_directories(home, now)
    ref = DirectoryRef(version=known.version, digest=known.digest)
    with pytest.raises(ProblemError, match="not here"):
        standing.directory_named(ref, now)
    standing.know(known)
    assert standing.directory_named(ref, now).version == older.version
    with pytest.raises(ProblemError, match="expired"):
        standing.directory_named(ref, BEGIN + 31 * DAY)


def test_an_older_directory_somebody_bent_is_not_used(home, authority):
    first = home.directory()
    publish(authority, home, BEGIN + DAY)
    head = home.path / "directory" / f"{first.version:012d}" / "head.json"
    head.write_bytes(first.head.replace(b"intl-1", b"gm-1", 1).replace(b'"version":2', b'"version":3'))
    assert list(older_directories(home, BEGIN + 2 * DAY)) == []


def test_the_newest_is_opened_whatever_the_time_and_then_forbids(home):
    """A kept directory or list that ran out does not keep the process from starting, nor the process from knowing."""
    now = BEGIN + 60 * DAY
    directory, _ = open_directory(home, home.directory(), ChainCache(home.trust()), now)
    with pytest.raises(Exception, match="not in force"):
        directory.check_in_force(ChainCache(home.trust()), now)


def test_a_newest_directory_of_somebody_else_is_not_opened(home, authority):
    bundle = home.directory()
    with pytest.raises(Unverified):
        open_directory(
            home,
            DirectoryBundle(
                version=2, head=bundle.head.replace(b'"version":2', b'"version":3'), signature=bundle.signature, entries=bundle.entries
            ),
            ChainCache(home.trust()),
            BEGIN + 60 * DAY,
        )


# ---- revocation lists --------------------------------------------------------------------------------------------------------------


def crl_of(authority: PilotAuthority, number: int, at: datetime, revoked=()) -> bytes:
    return authority._root("intl-1").crl(list(revoked), number, at, 7)


def kept(home: Home, name: str = "intl-1.crl") -> int:
    return Crl.from_der((home.crls / name).read_bytes()).number


def test_a_newer_list_replaces_an_older_one_and_never_the_other_way_round(home, authority):
    number = kept(home)
    newer = crl_of(authority, number + 2, BEGIN + DAY)
    assert keep_crl(home, "intl-1.crl", newer)
    assert kept(home) == number + 2
    assert not keep_crl(home, "intl-1.crl", crl_of(authority, number + 1, BEGIN + 2 * DAY)), "fresh, and yet of before"
    assert not keep_crl(home, "intl-1.crl", crl_of(authority, number + 2, BEGIN)), "the same number, issued earlier"
    assert (home.crls / "intl-1.crl").read_bytes() == newer
    assert keep_crl(home, "intl-1.crl", newer)


def test_a_revocation_is_not_taken_back_by_an_older_list(home, authority):
    certificate = home.certificate("sign-intl-1")
    number = kept(home)
    assert keep_crl(home, "intl-1.crl", crl_of(authority, number + 2, BEGIN + DAY, [(certificate.serial, BEGIN, "keyCompromise")]))
    assert not keep_crl(home, "intl-1.crl", crl_of(authority, number + 1, BEGIN + DAY))
    now = BEGIN + 2 * DAY
    with pytest.raises(Revoked):
        ChainCache(home.trust()).verify(certificate, at=now, now=now, purpose=Purpose.SIGN)


def test_an_older_list_under_another_name_is_not_kept_either(home, authority):
    assert keep_crl(home, "intl-1.crl", crl_of(authority, 9, BEGIN + DAY))
    assert not keep_crl(home, "other.crl", crl_of(authority, 8, BEGIN + DAY))
    assert not (home.crls / "other.crl").exists()


def test_a_list_of_nobody_we_believe_is_not_kept(home):
    stranger = IssuingAuthority.create_root(INTL_1, "stranger", BEGIN)
    before = (home.crls / "intl-1.crl").read_bytes()
    for name in ("intl-1.crl", "new.crl"):
        assert not keep_crl(home, name, stranger.crl([], 1_000, BEGIN, 7))
        assert not keep_crl(home, name, b"no list at all")
    bent = bytearray(before)
    bent[-3] ^= 1
    assert not keep_crl(home, "intl-1.crl", bytes(bent))
    assert (home.crls / "intl-1.crl").read_bytes() == before
    assert not (home.crls / "new.crl").exists()


def test_a_list_of_another_authority_never_takes_the_files_name(home, authority):
    """Both are ours; whoever answers at one address must not make the other's list vanish."""
    of_gm = authority._root("gm-1").crl([], 1_000, BEGIN + DAY, 7)
    before = (home.crls / "intl-1.crl").read_bytes()
    (home.path / "trust" / "roots" / "gm-1.pem").write_bytes(authority.certificate("root-gm-1").pem)
    assert not keep_crl(home, "intl-1.crl", of_gm)
    assert (home.crls / "intl-1.crl").read_bytes() == before
    assert keep_crl(home, "gm-1.crl", of_gm)


def test_an_unusable_file_gives_way_to_a_good_list(home, authority):
    (home.crls / "intl-1.crl").write_bytes(b"rubbish")
    (unusable,) = (one for one in home.revocation_lists() if one.file.name == "intl-1.crl")
    assert unusable.crl is None
    assert unusable.problem
    assert isinstance(home.trust(), Trust), "it counts as missing and stops nothing"
    told = [(one.health, one.what) for one in _trust(_Patient(home, BEGIN)) if "intl-1.crl" in one.en]
    assert told == [("fail", "crl")], "doctor says so and goes on"
    assert keep_crl(home, "intl-1.crl", crl_of(authority, 5, BEGIN + DAY))
    assert all(one.crl for one in home.revocation_lists())
