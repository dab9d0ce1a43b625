"""``yizhan queue`` as an operator meets it: a real gateway with a silent peer, then the same home at rest."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
from cli_city import FINANCE, ROOT, City, yizhan

from gateway.core.leaf import Leaf
from gateway.net.control import SOCKET_NAME, ControlServer, call, is_there, short_name
from gateway.reading import open_ledger

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    """An authority, an office that serves, and a finance bureau that never came up. Deep enough that a socket's plain name would not fit."""
    folder = tmp_path_factory.mktemp("town") / ("d" * 60) / ("e" * 60)
    folder.mkdir(parents=True)
    town = City(folder, "intl-1")
    town.found()
    try:
        serve(town, "authority serve", "authority")
        serve(town, "serve", "office")
        town._wait_ready(town.office)
        yield town
    finally:
        town.stop()


def serve(town: City, act: str, home: str) -> None:
    log = (town.folder / f"{home}.log").open("ab")
    command = [sys.executable, "-m", "gateway.cli.main", *act.split(), "--home", str(town.folder / home)]
    town.processes.append(subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": str(ROOT)}))
    log.close()


def wait_for(holds, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)


def listed(home: Path, *more: object):
    ran = yizhan("queue", "list", "--home", home, "--json", *more)
    assert ran.code == 0, ran.err
    return ran.json


def sent(town: City, title: str, *more: str) -> str:
    """A document that waits for a peer that is not there; its exchange id."""
    file = town.folder / f"{title}.txt"
    file.write_text("正文\n" * 50, encoding="utf-8")
    before = {item["id"] for item in listed_or_nothing(town.office)}
    ran = yizhan(
        "send",
        "--home",
        town.office,
        "--to",
        FINANCE,
        "--level",
        "内部",
        "--title",
        f"关于{title}的函",
        "--number",
        "府办函〔2026〕1号",
        *more,
        "--",
        file,
    )
    assert ran.code == 0, ran.err
    found: list[str] = []

    def stuck() -> bool:
        found[:] = [item["id"] for item in listed_or_nothing(town.office) if item["id"] not in before and item["attempts"]]
        return bool(found)

    wait_for(stuck)
    return found[0]


def listed_or_nothing(home: Path):
    return listed(home) if (home / "data" / "yizhan.db").exists() else []


@pytest.fixture(scope="module")
def waiting(town) -> str:
    return sent(town, "等待", "--urgency", "加急")


def test_the_list_says_why_it_waits_how_long_and_until_when(town, waiting):
    (item,) = [item for item in listed(town.office) if item["id"] == waiting]
    assert (item["state"], item["org"], item["name"], item["direction"]) == ("SEALED", FINANCE, "市财政局", "out")
    assert item["attempts"] >= 1
    assert item["next_attempt"]
    assert 0 < item["left_seconds"] <= 4 * 3600
    assert not item["overdue"]
    assert item["reasons"][0]["rule"] == "unreachable"
    assert item["reasons"][0]["fix"]
    assert item["acts"] == ["retry", "return", "expire"]
    zh = yizhan("queue", "list", "--home", town.office, lang="zh")
    assert zh.code == 0, zh.err
    for words in (waiting, "市财政局", "紧急程度 加急", "可做：", "时限还剩", "再试"):
        assert words in zh.out, words
    assert "can: retry, return, expire" in yizhan("queue", "list", "--home", town.office).out


@pytest.mark.parametrize(
    ("more", "there"),
    [
        (("--state", "SEALED", "--peer", FINANCE, "--direction", "out", "--older-than", "0s", "--urgent"), True),
        (("--state", "STUCK"), False),
        (("--peer", "gw-nobody"), False),
        (("--direction", "in"), False),
        (("--older-than", "1d"), False),
        (("--set-aside",), False),
    ],
)
def test_filters(town, waiting, more, there):
    assert (waiting in [item["id"] for item in listed(town.office, *more)]) is there


def test_show_tells_all_there_is(town, waiting):
    ran = yizhan("queue", "show", "--home", town.office, waiting[:22], "--json")
    assert ran.code == 0, ran.err
    (recipient,) = ran.json["recipients"]
    assert [hop["what"] for hop in recipient["history"]][:2] == ["taken", "sealed"]
    assert ran.json["content"]["size"] > 0
    assert ran.json["title"] == "关于等待的函"
    assert {work["kind"] for work in ran.json["works"]} == {"deliver"}
    text = yizhan("queue", "show", "--home", town.office, waiting).out
    for words in ("bytes of ciphertext", f"yizhan queue retry {waiting}", f"yizhan queue return {waiting}", "✗", "→"):
        assert words in text, words


def test_an_act_reaches_the_gateway_that_serves(town, waiting):
    before = (town.office / "data" / SOCKET_NAME).stat()
    assert stat.S_IMODE(before.st_mode) == 0o600
    ran = yizhan("queue", "retry", "--home", town.office, waiting, "--json")
    assert ran.code == 0, ran.err
    assert [(done["recipient"], done["after"]) for done in ran.json["done"]] == [(FINANCE, "SEALED")]
    leaf = leaves(town.office, waiting)[-1]
    assert (leaf.kind, leaf.actor.role, leaf.actor.auth) == ("retried", "operator", "local-socket")


def leaves(home: Path, exchange: str) -> list[Leaf]:
    from gateway.home import Home

    async def read() -> list[Leaf]:
        async with open_ledger(Home.open(home)) as ledger:
            return [Leaf.from_bytes(body) for _, body in await ledger.leaves(exchange)]

    return asyncio.run(read())


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("retry", "0190abcd"), "queue/unknown"),
        (("expire", "0190abcd"), "queue/unknown"),
        (("retry", "WAITING", "--to", "11440100007482151C"), "queue/no-such-recipient"),
        (("retry", "WAITING", "--to", "12345"), "organisation-code"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(town, waiting, arguments, code):
    ran = yizhan("queue", arguments[0], "--home", town.office, *(waiting if word == "WAITING" else word for word in arguments[1:]))
    assert ran.code in (1, 2)
    assert f"(code {code})" in ran.err, ran.err


@pytest.mark.parametrize("line", [b"{}\n", b"\xff\n", b'{"v":"yizhan-control/1","act":"erase","item":"x"}\n', b"x" * 10_000 + b"\n"])
def test_whatever_is_said_to_the_socket_the_gateway_goes_on(town, waiting, line):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, short_name(town.office / "data") as name:
        connection.settimeout(10)
        connection.connect(name)
        connection.sendall(line)
        with contextlib.suppress(ConnectionResetError):
            answer = connection.recv(65536)
            assert answer == b"" or json.loads(answer)["outcome"] is None
    assert listed(town.office)


def say_as(uid: int, folder: Path) -> str:
    """What the control socket there answers another account, or how it was kept from asking. Blocking."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside a thread: the child only talks to a socket and ends
        child = os.fork()
    if not child:
        try:
            os.chdir(folder)
            os.setuid(uid)
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(5)
                connection.connect(SOCKET_NAME)
                connection.sendall(b"{}\n")
                os.write(writing, connection.recv(9999))
        except OSError as error:
            os.write(writing, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        heard = answer.read().decode()
    os.waitpid(child, 0)
    return heard


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
async def test_nobody_else_may_act(tmp_path):
    tmp_path.chmod(0o755)
    server = ControlServer(tmp_path, None)
    before = os.umask(0)
    try:
        await server.start()
    finally:
        os.umask(before)
    assert await asyncio.to_thread(say_as, 65534, tmp_path) == "PermissionError"
    (tmp_path / SOCKET_NAME).chmod(0o666)  # were it open to all, the kernel's word would still be asked for
    assert "queue/not-yours" in await asyncio.to_thread(say_as, 65534, tmp_path)
    assert "bad-input" in await asyncio.to_thread(say_as, 0, tmp_path)
    await server.stop()


def test_returned_it_lies_in_the_office_with_the_reasons(town):
    exchange = sent(town, "退回")
    ran = yizhan("queue", "return", "--home", town.office, exchange)
    assert ran.code == 0, ran.err
    assert "SEALED → EXPIRED" in ran.out
    status = town.office / "office" / "sent" / exchange / "status.json"
    wait_for(lambda: [each["state"] for each in json.loads(status.read_bytes())["recipients"]] == ["EXPIRED"])
    shown = json.loads(status.read_bytes())
    assert shown["reasons"][0]["rule"] == "queue/given-back"
    assert shown["recipients"][0]["reasons"]
    assert shown["deliver_by"]
    again = yizhan("queue", "return", "--home", town.office, exchange)
    assert again.code == 2
    assert "queue/not-from" in again.err


def test_z_the_same_acts_on_a_home_that_rests(town, waiting):
    """Last: the office stops for good."""
    office = town.processes.pop()
    office.send_signal(signal.SIGTERM)
    assert office.wait(30) == 0
    assert not is_there(town.office / "data")
    ran = yizhan("queue", "expire", "--home", town.office, waiting, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["done"] == [{"recipient": FINANCE, "before": "SEALED", "after": "EXPIRED"}]
    leaf = leaves(town.office, waiting)[-1]
    assert (leaf.kind, leaf.actor.role, leaf.actor.auth, leaf.reason) == ("expired", "operator", "home-lock", "ended-early")
    assert waiting not in [item["id"] for item in listed(town.office)]
    for act in ("audit verify", "fsck"):
        assert yizhan(*act.split(), "--home", town.office).code == 0
    # What a killed gateway leaves behind is no gateway.
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead, short_name(town.office / "data") as name:
        dead.bind(name)
    from gateway.flow.queue import Request

    assert call(town.office / "data", Request(act="retry", item=waiting), timeout=1.0) is None
    (town.office / "data" / SOCKET_NAME).unlink()
