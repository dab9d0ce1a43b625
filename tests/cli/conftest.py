"""Fixtures of the command line's tests."""

import importlib.util
import sys
import time
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("cli_city", Path(__file__).with_name("city.py"))
cli_city = importlib.util.module_from_spec(_spec)
sys.modules["cli_city"] = cli_city
_spec.loader.exec_module(cli_city)


@pytest.fixture(scope="session", params=["gm-1", "intl-1"])
def city(request, tmp_path_factory):
    """A document was sent, delivered and signed for; the gateways have stopped. Read it, and copy what you bend."""
    city = cli_city.City(tmp_path_factory.mktemp("city"), request.param)
    city.found()
    try:
        city.start()
        body = city.folder / "关于试点的函.txt"
        body.write_text("正文\n" * 1000, encoding="utf-8")
        sent = cli_city.yizhan(
            *(
                "send",
                "--home",
                city.office,
                "--to",
                cli_city.FINANCE,
                "--level",
                "内部",
                "--title",
                "关于试点的函",
                "--number",
                "府办函〔2026〕1号",
            ),
            *("--wait", 30, "--json", body),
        )
        assert sent.code == 0, sent.err + sent.out
        city.exchange = sent.json["exchange"]
        city.doctor = cli_city.yizhan("doctor", "--home", city.finance, "--json")
        signed = cli_city.yizhan("sign-for", "--home", city.finance, city.exchange)
        assert signed.code == 0, signed.err
        city.second = cli_city.yizhan("sign-for", "--home", city.finance, city.exchange)
        _wait_for(lambda: "SIGNED_FOR" in cli_city.yizhan("trace", "--home", city.office, city.exchange, "--json").out)
    finally:
        city.stop()
    return city


def _wait_for(holds, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)
