"""Bad input through real folders and real connections: each with its stable code, and nothing else changed."""

from __future__ import annotations

import http.client
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path

import pytest

from crypto.ca import GATEWAY_URN, Profile, Subject
from crypto.keys import PrivateKey
from crypto.suites import INTL_1
from gateway.cli.city import HIGHEST, ZONE
from gateway.config import split_address
from gateway.founding import Plan, found
from tests.crypto.pki import organisation_code
from tests.system.town import FINANCE, Town, letter

pytestmark = pytest.mark.system

GHOST = organisation_code("11440100007482900")  # enrolled, its certificates for encryption and TLS revoked, never running
NOBODY = organisation_code("11440100007482901")
BODY = {"正文.pdf": b"%PDF-1.7"}


@pytest.fixture(scope="module")
def haunted(tmp_path_factory):
    """A town that knows an organisation nothing can be encrypted to."""
    town = Town(tmp_path_factory.mktemp("haunted"))
    authority, folder = town.city._authority, town.city.folder
    policy = resources.files("policies").joinpath("default.toml").read_bytes()
    plan = Plan(organisation=GHOST, name="已撤单位", suites=("intl-1",), zone=ZONE, highest_level=HIGHEST, policy=policy)
    town.ghost = found(folder / "ghost", plan, authority, at=datetime.now(UTC))
    for purpose in ("encrypt", "tls"):
        authority.revoke(GHOST, purpose, at=datetime.now(UTC))
    with town:
        yield town
        assert town.end("office") == 0
        assert town.end("finance") == 0
        for desk in (town.office, town.finance):
            desk.prove()


def bad(**changes):
    return letter("试点", [FINANCE.code], BODY) | changes


LONG = "很长的名称" * 20  # 300 bytes
CASES = {
    "unknown-field": (bad(titel="关于试点的函"), BODY, "document/unknown-field"),
    "number": (bad(number="国办发[2012]1号"), BODY, "document/number"),
    "missing": (bad(files=[{"name": "正文.pdf"}, {"name": "附件.pdf"}]), BODY, "offer/file-missing"),
    "slash": (bad(files=[{"name": "../正文.pdf"}]), BODY, "part/name-path"),
    "long": (bad(files=[{"name": "正文.pdf"}, {"name": f"{LONG}.pdf"}]), BODY, "part/name-long"),
    "not-json": (b"{", BODY, "document/not-json"),
    "unknown-recipient": (bad(to=[FINANCE.code, NOBODY]), BODY, "not-listed"),
    "no-certificate": (bad(to=[GHOST]), BODY, "levels/internal/suites"),
    "bad-code": (bad(to=["114401000074821510"]), BODY, "document/recipient-code"),
    "secret": (bad(level="秘密"), BODY, "builtin/state-secret-commercial"),
    "program": (bad(files=[{"name": "setup.exe"}]), {"setup.exe": b"MZ"}, None),
}


@pytest.mark.parametrize("name", CASES)
def test_a_bad_folder_is_refused_with_its_code(haunted, name):
    document, files, rule = CASES[name]
    office = haunted.office
    before = (haunted.finance.inbox(), set(office.statuses()))
    office.put(name, document, files)
    haunted.wait(lambda: office.refused(name) is not None, f"{name} refused")
    rules = office.refused(name)
    assert rule is None or rule in rules, rules
    folder = office.root / "refused" / name
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name in files} == files, "nothing of the clerk's is lost"
    assert not (office.root / "outbox" / name).exists()
    assert (haunted.finance.inbox(), set(office.statuses())) == before


def test_good_ones_pass_among_bad_ones(haunted):
    office = haunted.office
    office.put("bad-one", b"[]", BODY)
    office.send("good-one", [FINANCE.code], BODY)
    haunted.wait(lambda: office.states("good-one") == ["DELIVERED"], "the good one")
    haunted.wait(lambda: office.refused("bad-one") is not None, "the bad one")


def test_a_stranger_gets_nowhere(haunted):
    """A certificate of our own root that the directory does not list for any gateway; and none at all."""
    host, port = split_address(haunted.finance.home.config.listen.peer)
    for with_certificate in (True, False):
        connection = http.client.HTTPSConnection(host, port, timeout=10, context=_context(haunted.ghost, with_certificate=with_certificate))
        try:
            connection.request("POST", "/v1/exchanges", body=b"\0\0\0\0", headers={"Content-Type": "application/vnd.yizhan.exchange"})
            answer = connection.getresponse()
            assert (answer.status, answer.headers["Yizhan-Problem"]) == (403, "unknown-peer")
        except (ssl.SSLError, ConnectionError):
            pass  # turned away in the handshake: as good
        finally:
            connection.close()
    haunted.office.send("after-the-stranger", [FINANCE.code], BODY)
    haunted.wait(lambda: haunted.office.states("after-the-stranger") == ["DELIVERED"], "business as usual")


def _context(home, *, with_certificate: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if with_certificate:
        context.load_cert_chain(home.certs / "tls.pem", home.keys / "tls.pem", password=home.passphrase())
    return context


def _of_the_ghost(haunted) -> tuple[PrivateKey, bytes]:
    """A gateway's certificate of the same root, in another name."""
    ghost = haunted.ghost
    return PrivateKey.from_pkcs8((ghost.keys / "tls.pem").read_bytes(), ghost.passphrase()), (ghost.certs / "tls.pem").read_bytes()


def _in_its_name(haunted) -> tuple[PrivateKey, bytes]:
    """A certificate of the same root in the very name of the recipient's gateway, which the directory does not list."""
    name, key = haunted.finance.home.config.gateway.id, PrivateKey.generate(INTL_1)
    subject = Subject(common_name=name, organisation_name="冒名", organisation_code=FINANCE.code)
    begin = datetime.now(UTC) - timedelta(minutes=5)
    certificate = haunted.city._authority._root("intl-1").issue(
        key.public, Profile.TLS, subject, begin, 30, sans=(f"URI:{GATEWAY_URN}{name}",)
    )
    return key, certificate.pem


@pytest.mark.parametrize("impostor", [_of_the_ghost, _in_its_name])
def test_a_peer_with_another_certificate_gets_no_document(haunted, impostor):
    """Somebody else answers at the recipient's address, with a certificate of the same root: not a byte of a document goes there."""
    finance = haunted.finance.home
    assert haunted.end("finance") == 0
    places = [finance.certs / "tls.pem", finance.keys / "tls.pem"]
    kept = [place.read_bytes() for place in places]
    key, certificate = impostor(haunted)
    places[0].write_bytes(certificate)
    places[1].write_bytes(key.to_pkcs8(finance.passphrase()))
    haunted.start("finance")
    failures, name = haunted.log("office").count("deliver:out"), f"wrong-peer{impostor.__name__}"
    haunted.office.send(name, [FINANCE.code], BODY)
    haunted.wait(lambda: haunted.office.states(name) == ["SEALED"], "sealed")
    haunted.wait(lambda: haunted.log("office").count("deliver:out") >= failures + 2, "attempts")
    assert haunted.office.states(name) == ["SEALED"]
    before = haunted.finance.inbox()
    assert haunted.end("finance") == 0
    for place, content in zip(places, kept, strict=True):
        place.write_bytes(content)
    haunted.start("finance")
    haunted.wait(lambda: haunted.office.states(name) == ["DELIVERED"], "the right peer", 90)
    assert len(haunted.finance.inbox()) == len(before) + 1


# ---- processes -------------------------------------------------------------------------------------------------------------------


def test_two_processes_on_one_home_refuse_each_other(haunted):
    home = str(haunted.office.home.path)
    second = subprocess.run(
        [sys.executable, "-m", "gateway.cli.main", "serve", "--home", home], capture_output=True, text=True, timeout=60, check=False
    )
    assert second.returncode != 0
    assert "Traceback" not in second.stderr, second.stderr
    assert f"in use by process {haunted.process('office').pid}" in second.stderr, "refused by the lock, before it touched anything"
    assert haunted.process("office").poll() is None
    haunted.office.send("still-here", [FINANCE.code], BODY)
    haunted.wait(lambda: haunted.office.states("still-here") == ["DELIVERED"], "the first goes on")


def test_sigterm_ends_well_and_nothing_is_lost(haunted):
    for number in range(40):
        haunted.office.send(f"term-{number}", [FINANCE.code], {"正文.pdf": b"%PDF-1.7" * 1000 + str(number).encode()})
    haunted.wait(lambda: len(haunted.office.statuses()) > 5, "some on their way")
    for key in ("office", "finance"):
        assert haunted.end(key) == 0, haunted.log(key)[-3000:]
        assert "Traceback" not in haunted.log(key).rpartition("started;")[2], haunted.log(key)[-3000:]
    for desk in (haunted.office, haunted.finance):
        desk.prove()
    haunted.start("finance")
    haunted.start("office")
    haunted.wait(lambda: all(haunted.office.states(f"term-{number}") == ["DELIVERED"] for number in range(40)), "all of them")
    bodies = [(folder / "正文.pdf").read_bytes() for folder in haunted.finance.inbox().values() if (folder / "正文.pdf").exists()]
    assert all(bodies.count(b"%PDF-1.7" * 1000 + str(number).encode()) == 1 for number in range(40))


# ---- a full disk -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A file system of four mebibytes. Where none can be made, the office that is full is left to the tests of the flow."""
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


def test_an_office_whose_disk_is_full_gets_the_document_once_there_is_room(tmp_path, small_disk):
    town = Town(tmp_path / "town")
    config = town.finance.home.path / "gateway.toml"
    config.write_text(config.read_text().replace('path = "office"', f'path = "{small_disk}"'))
    town.finance.home = type(town.finance.home).open(town.finance.home.path)
    town.city.homes["finance"] = town.finance.home
    town.finance.root = Path(town.finance.home.office)
    content = b"x" * 3_000_000
    with town:
        filler = small_disk / "filler"
        filler.write_bytes(b"f" * 2_000_000)
        town.office.send("too-big", [FINANCE.code], {"正文.pdf": content})
        town.wait(lambda: town.office.states("too-big") == ["CONSIGNED"], "accepted by the gateway")
        town.wait(lambda: town.log("finance").count("hand-over:in") >= 2, "attempts to hand over")
        assert town.finance.inbox() == {}, "complete or not at all"
        assert town.office.states("too-big") == ["CONSIGNED"]
        filler.unlink()
        town.wait(lambda: town.office.states("too-big") == ["DELIVERED"], "delivered once there is room")
        (folder,) = town.finance.inbox().values()
        assert (folder / "正文.pdf").read_bytes() == content
        assert town.end("finance") == town.end("office") == 0
        for desk in (town.office, town.finance):
            desk.prove()
