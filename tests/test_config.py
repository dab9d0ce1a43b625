"""gateway.toml is read strictly: every mistake names file and key."""

import dataclasses
import re

import pytest

from gateway.config import Config, read_config, split_address
from gateway.core.errors import BadConfiguration
from gateway.net.time_stream import split_stream_url

GOOD = """
[gateway]
id = "gw-test"
organisation = "11440100007482151C"
name = "市政府办公室"
[listen]
peer = "127.0.0.1:17001"
ops = "127.0.0.1:17002"
[time.authorities]
gm-1 = ["http://127.0.0.1:17003/tsa/gm-1"]
[directory]
url = "http://127.0.0.1:17003/directory"
[policy]
file = "policies/default.toml"
"""


def read(text: str) -> Config:
    return Config.from_toml(text.encode(), source="x/gateway.toml")


def test_defaults_fill_what_a_file_leaves_out():
    config = read(GOOD)
    assert config.gateway.node == "1"
    assert config.limits.in_flight_per_peer == 16
    assert config.time.authorities == {"gm-1": ("http://127.0.0.1:17003/tsa/gm-1",)}
    assert config.office.kind == "folder"


def test_an_address_of_a_stream_that_is_read_is_one_the_client_takes():
    for place in ("time.example:318", "127.0.0.1:17003", "[::1]:17003"):
        config = read(GOOD.replace("http://127.0.0.1:17003/tsa/gm-1", f"tsp://{place}"))
        host, port = split_stream_url(config.time.authorities["gm-1"][0])
        assert (host, port) == split_address(place)


def test_writing_and_reading_again_changes_nothing():
    config = read(GOOD)
    assert Config.from_toml(config.to_toml().encode()) == config


def test_names_with_quotes_and_controls_survive_the_file():
    config = read(GOOD)
    odd = dataclasses.replace(config, gateway=dataclasses.replace(config.gateway, name='a"b\\c\n\u202ed 局'))
    assert Config.from_toml(odd.to_toml().encode()) == odd


BROKEN = [
    ("unknown key", GOOD + "[office]\ncolour = 1\n", "office.colour"),
    ("unknown section", GOOD + "[extra]\n", "extra"),
    ("missing section", GOOD.replace('[policy]\nfile = "policies/default.toml"', ""), "policy"),
    ("missing key", GOOD.replace('id = "gw-test"', ""), "gateway.id"),
    ("section as value", "listen = 1\n" + re.sub(r"\[listen\][^\[]*", "", GOOD), "listen"),
    ("unit as text", GOOD + '[office]\npoll_seconds = "10s"\n', "office.poll_seconds"),
    ("number as truth value", GOOD + "[limits]\nin_flight_per_peer = true\n", "limits.in_flight_per_peer"),
    ("fraction of a count", GOOD + "[limits]\nin_flight_per_peer = 1.5\n", "limits.in_flight_per_peer"),
    ("not a number", GOOD + "[office]\npoll_seconds = nan\n", "office.poll_seconds"),
    ("out of range", GOOD + "[limits]\nin_flight_per_peer = 0\n", "limits.in_flight_per_peer"),
    ("wrong check digit", GOOD.replace("2151C", "2151T"), "gateway.organisation"),
    ("gateway id", GOOD.replace("gw-test", "GW test"), "gateway.id"),
    ("port", GOOD.replace("127.0.0.1:17001", "127.0.0.1:99999"), "listen.peer"),
    ("same port", GOOD.replace("17002", "17001"), "listen.ops"),
    ("unknown suite", GOOD.replace("gm-1 =", "rsa-1 ="), "time.authorities.rsa-1"),
    ("authorities of another kind", GOOD.replace('["http://127.0.0.1:17003/tsa/gm-1"]', "3"), "time.authorities.gm-1"),
    ("no authority", GOOD.replace('gm-1 = ["http://127.0.0.1:17003/tsa/gm-1"]', ""), "time.authorities"),
    (
        "a time authority of another protocol",
        GOOD.replace("http://127.0.0.1:17003/tsa/gm-1", "ftp://127.0.0.1:17003"),
        "time.authorities.gm-1",
    ),
    ("a stream without a port", GOOD.replace("http://127.0.0.1:17003/tsa/gm-1", "tsp://127.0.0.1"), "time.authorities.gm-1"),
    ("a stream with a path", GOOD.replace("http://127.0.0.1:17003/tsa/gm-1", "tsp://127.0.0.1:17003/gm-1"), "time.authorities.gm-1"),
    ("a stream with a name in it", GOOD.replace("http://127.0.0.1:17003/tsa/gm-1", "tsp://me@127.0.0.1:17003"), "time.authorities.gm-1"),
    ("no URL", GOOD.replace('url = "http://127.0.0.1:17003/directory"', 'url = "/directory"'), "directory.url"),
    ("unknown office", GOOD + '[office]\nkind = "fax"\n', "office.kind"),
    ("lists that overwrite each other", GOOD + '[trust]\ncrl_urls = ["http://a/x.crl", "http://b/x.crl"]\n', "trust.crl_urls"),
    ("not TOML", GOOD + "[", ""),
    ("too large", GOOD + "#" * 70_000, ""),
]


@pytest.mark.parametrize(("text", "key"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_a_mistake_names_file_and_key(text: str, key: str):
    with pytest.raises(BadConfiguration) as caught:
        read(text)
    assert caught.value.key == key
    assert caught.value.file == "x/gateway.toml"
    assert key in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadConfiguration) as caught:
        read_config(tmp_path / "gateway.toml")
    assert caught.value.file == str(tmp_path / "gateway.toml")


@pytest.mark.parametrize("address", ["", ":1", "host", "host:", "host:0", "host:65536", "a b:1", "http://h:1"])
def test_what_is_no_address(address: str):
    with pytest.raises(ValueError, match="HOST:PORT"):
        split_address(address)


def test_addresses():
    assert split_address("[::1]:443") == ("::1", 443)
    assert split_address("gw.example:8443") == ("gw.example", 8443)
