"""``yizhan demo`` as a visitor runs it: a process of its own, what it writes for programs, and what it leaves behind."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 170  # the promise is three minutes; alone on two cores it takes a quarter of a minute
REASON = {"rule", "zh", "en", "fix"}
EVENTS = ["ContentConsignment", "ContentHandover", "SignedFor"]


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gateway.cli.main", "--lang", "en", "demo", "--dir", str(folder), "--once", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, env=environment)


def left_behind(folder: Path) -> list[psutil.Process]:
    """Processes whose command line names this folder, or one in it."""
    return [each for each in psutil.process_iter(["cmdline"]) if any(str(folder) in word for word in each.info["cmdline"] or ())]


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture(scope="module", params=["gm-1", "intl-1"])
def shown(request, tmp_path_factory):
    """What one whole demo said and wrote."""
    place = tmp_path_factory.mktemp("demo")
    out = place / "out.json"
    process = start(place / "city", "--suite", request.param, "--json", str(out))
    try:
        said, _ = process.communicate(timeout=SECONDS)
    finally:
        process.terminate()
        process.wait(SECONDS)
    assert process.returncode == 0, said
    return request.param, place / "city", json.loads(out.read_bytes()), said


def test_it_leaves_no_process_and_says_that_all_of_it_held(shown):
    _, folder, _, said = shown
    assert left_behind(folder) == []
    assert "All of it held" in said


def test_its_json_has_the_shape_programs_rely_on(shown):
    suite, _, result, _ = shown
    assert set(result) == {"exchanges", "refused", "audit", "tampering"}
    assert [len(exchange["to"]) for exchange in result["exchanges"]] == [2, 1, 1]
    for exchange in result["exchanges"]:
        assert set(exchange) == {"id", "from", "to", "level", "suite", "states", "parts", "delivered", "receipts"}
        assert (exchange["suite"], exchange["level"]) == (suite, "internal")
        assert exchange["states"] == dict.fromkeys(exchange["to"], "SIGNED_FOR")
        assert set(exchange["delivered"]) == set(exchange["to"])
        assert exchange["parts"] and all(set(part) == {"name", "sha256"} for part in exchange["parts"])
        for org in exchange["to"]:
            assert [receipt["event"] for receipt in exchange["receipts"] if receipt["by"] == org] == EVENTS
        assert all(set(receipt) == {"event", "by"} for receipt in exchange["receipts"])


def test_what_lies_in_the_inboxes_is_what_was_sent(shown):
    _, folder, result, _ = shown
    sizes = []
    for exchange in result["exchanges"]:
        sent = {part["name"]: part["sha256"] for part in exchange["parts"]}
        drafts = {name: folder / "drafts" / name for name in sent}
        assert {name: sha256(file) for name, file in drafts.items()} == sent
        for place in map(Path, exchange["delivered"].values()):
            assert {name: sha256(place / name) for name in sent} == sent
        sizes += [file.stat().st_size for file in drafts.values()]
    assert max(sizes) >= 64 * 1024 * 1024


def test_the_secret_document_is_refused_and_says_why(shown):
    _, folder, result, _ = shown
    (refused,) = result["refused"]
    assert all(set(reason) == REASON and all(reason.values()) for reason in refused["reasons"])
    assert "builtin/state-secret-commercial" in [reason["rule"] for reason in refused["reasons"]]
    assert not list(folder.glob("*/office/inbox/*/秘密.pdf"))


def test_the_logs_hold_and_what_was_bent_is_found(shown):
    _, _, result, said = shown
    assert len(result["audit"]) == 3
    for log in result["audit"].values():
        assert set(log) == {"size", "root", "ok"}
        assert log["ok"] is True and log["size"] > 0 and log["root"] in said
    assert [each["found"] for each in result["tampering"]] == [True, True]
    assert all(set(each) == {"what", "found"} for each in result["tampering"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_ended_in_the_middle_it_leaves_no_process(tmp_path, number):
    process = start(tmp_path / "city")
    assert process.stdout is not None
    try:
        while line := process.stdout.readline():
            if " sends " in line:  # all four processes run and the first document is on its way
                break
        assert len(left_behind(tmp_path / "city")) == 5
        process.send_signal(number)
        time.sleep(0.05)
        process.send_signal(number)  # the impatient press twice
        said, _ = process.communicate(timeout=SECONDS)
        behind = left_behind(tmp_path / "city")
    finally:
        for each in left_behind(tmp_path / "city"):
            each.kill()
        process.wait()
    assert behind == []
    assert process.returncode != 0
    assert "Traceback" not in said
