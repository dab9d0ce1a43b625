"""Policy files: what is good is in force whole, what is not is refused naming file, line, key and remedy."""

import re
import tomllib
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.digests import digest
from gateway.core.errors import BadConfiguration
from gateway.core.policy import Policy, load_policy
from gateway.core.policy.toml_table import MAX_LISTED, MAX_POLICY_BYTES
from tests.core.policy.worlds import POLICY, TEXT


def refused(text: str | bytes) -> BadConfiguration:
    with pytest.raises(BadConfiguration) as caught:
        load_policy(text if isinstance(text, bytes) else text.encode(), "test.toml")
    error = caught.value
    assert error.source == "test.toml"
    assert error.fix
    assert str(error).startswith("test.toml")
    return error


def swapped(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new, 1)


def test_a_file_is_read_whole():
    assert (POLICY.id, POLICY.version, POLICY.digest) == ("test", 3, digest("sha256", TEXT.encode()))
    assert list(POLICY.levels) == ["public", "internal", "work-secret", "secret"]
    handling = POLICY.handling("work-secret")
    assert (handling.suites, handling.timestamp_required, handling.authorities) == (("gm-1", "intl-1"), True, ("tsa-1",))
    assert (handling.max_size, handling.types) == (1024**2, {"application/pdf", "text/plain"})
    assert (handling.sign_for_required, handling.sign_for_within) == (True, timedelta(days=3))
    assert (handling.retention, handling.approvals) == (timedelta(days=3650), 1)
    assert POLICY.handling("top-secret") is None
    assert (POLICY.zones["inner"].name, POLICY.zones["inner"].profile, POLICY.zones["inner"].highest.id) == (
        "政务内网",
        "classified",
        "secret",
    )
    assert [(flow.id, flow.origin, flow.target, flow.both_ways) for flow in POLICY.flows] == [("up", "outer", "inner", False)]
    assert POLICY.routes[0].senders == ("11", "12")
    assert POLICY.routes[1].senders == ("",)
    assert POLICY.urgency["flash"].deliver_within == timedelta(minutes=15)
    assert (POLICY.urgency["flash"].weight, POLICY.urgency["flash"].remind_at) == (1000, (50, 100))
    assert POLICY.longest_life == timedelta(days=30)
    assert POLICY.tests[0].level == "secret"


def test_words_for_everything():
    policy = load_policy(TEXT.replace('["tsa-1"]', '"any"').replace('["application/pdf", "text/plain"]', '"any"').encode())
    assert policy.handling("public").authorities is None
    assert policy.handling("public").types is None


def test_levels_may_be_named_in_chinese():
    assert load_policy(TEXT.replace("[levels.work-secret]", '[levels."工作秘密"]').encode()).handling("work-secret")


def test_signing_for_may_be_left_out_everywhere():
    policy = load_policy(TEXT.replace('sign_for = true\nsign_for_within = "3d"', "sign_for = false").encode())
    assert (policy.handling("public").sign_for_required, policy.handling("public").sign_for_within) == (False, None)


def test_a_flow_of_both_ways_is_one():
    policy = load_policy(TEXT.replace("both_ways = false", "both_ways = true").encode())
    (flow,) = policy.flows
    internal, work_secret = policy.levels["internal"].level, policy.levels["work-secret"].level
    assert flow.permits("outer", "inner", internal)
    assert flow.permits("inner", "outer", internal)
    assert not flow.permits("inner", "outer", work_secret)
    assert not POLICY.flows[0].permits("inner", "outer", internal)


# ---- every key is mandatory and no other is known

KEYS = sorted({match[1] for match in re.finditer(r"^(\w+) =", TEXT, re.MULTILINE)})


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_mandatory(key):
    error = refused(re.sub(rf"^{key} =.*\n", "", TEXT, count=1, flags=re.MULTILINE))
    assert error.key.endswith(key)
    assert "is missing" in str(error)


@pytest.mark.parametrize("table", re.findall(r"^\[.*\]$", TEXT, re.MULTILINE))
def test_no_other_key_is_known(table):
    error = refused(swapped(table + "\n", table + "\nsurprise = 1\n"))
    assert error.key.endswith(".surprise")
    assert TEXT.splitlines().index(table) + 2 == error.line


@pytest.mark.parametrize("table", ["policy", "levels", "zones", "urgency", "arrival"])
def test_every_table_is_mandatory(table):
    kept = [block for block in re.split(r"\n(?=\[)", TEXT) if not re.match(rf"\[{table}[.\]]", block.strip())]
    assert refused("\n".join(kept)).key in {table, f"{table}.flash"}


@pytest.mark.parametrize("table", ["routes", "tests"])
def test_routes_and_tests_are_mandatory(table):
    kept = [block for block in re.split(r"\n(?=\[)", TEXT) if not block.strip().startswith(f"[[{table}]]")]
    error = refused("\n".join(kept))
    assert error.key == table
    assert "is empty" in str(error)


def test_an_unknown_table_is_refused():
    assert refused(TEXT + "\n[guards]\nx = 1\n").key == "guards"


def test_a_near_miss_is_named():
    error = refused(swapped('largest = "1MiB"', 'largset = "1MiB"\nlargest = "1MiB"'))
    assert error.fix == "did you mean 'largest'?"


# ---- values


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("version = 3", "version = 0", "policy.version"),
        ("version = 3", "version = true", "policy.version"),
        ("version = 3", 'version = "3"', "policy.version"),
        ('id = "test"', 'id = "Test!"', "policy.id"),
        ('id = "test"', 'id = ""', "policy.id"),
        ('suites = ["gm-1", "intl-1"]', 'suites = ["gm-2"]', "levels.public.suites"),
        ('suites = ["gm-1", "intl-1"]', "suites = []", "levels.public.suites"),
        ('suites = ["gm-1", "intl-1"]', 'suites = ["gm-1", "gm-1"]', "levels.public.suites"),
        ('suites = ["gm-1", "intl-1"]', 'suites = "any"', "levels.public.suites"),
        ('suites = ["gm-1", "intl-1"]', "suites = [1]", "levels.public.suites"),
        ("timestamp = true", 'timestamp = "yes"', "levels.public.timestamp"),
        ("timestamp = true", "timestamp = 1", "levels.public.timestamp"),
        ('largest = "1MiB"', 'largest = "1MB"', "levels.public.largest"),
        ('largest = "1MiB"', "largest = 1048576", "levels.public.largest"),
        ('largest = "1MiB"', 'largest = "1.5MiB"', "levels.public.largest"),
        ('largest = "1MiB"', 'largest = "65GiB"', "levels.public.largest"),
        ('largest = "1MiB"', 'largest = "0B"', "levels.public.largest"),
        ('types = ["application/pdf", "text/plain"]', 'types = ["pdf"]', "levels.public.types"),
        ('types = ["application/pdf", "text/plain"]', 'types = ["Application/PDF"]', "levels.public.types"),
        ("sign_for = true", "sign_for = false", "levels.public.sign_for_within"),
        ('sign_for_within = "3d"', 'sign_for_within = "3 days"', "levels.public.sign_for_within"),
        ('sign_for_within = "3d"', 'sign_for_within = "3m"', "levels.public.sign_for_within"),
        ('sign_for_within = "3d"', 'sign_for_within = "0d"', "levels.public.sign_for_within"),
        ('retention = "10y"', 'retention = "101y"', "levels.public.retention"),
        ('retention = "10y"', 'retention = "999999999y"', "levels.public.retention"),
        ("approvals = 0\n\n[[routes]]", "approvals = -1\n\n[[routes]]", "flows[0].approvals"),
        ("approvals = 0\n\n[[routes]]", "approvals = 11\n\n[[routes]]", "flows[0].approvals"),
        ("[levels.public]", "[levels.geheim]", "levels.geheim"),
        ("[zones.outer]", '[zones."Out er"]', "zones.Out er"),
        ('profile = "commercial"', 'profile = "comercial"', "zones.outer.profile"),
        ('profile = "commercial"', 'profile = "x"', "zones.outer.profile"),
        ('name = "政务外网"', 'name = "a\\nb"', "zones.outer.name"),
        ('highest = "work-secret"', 'highest = "higher"', "zones.outer.highest"),
        ('from = ["11*", "12*"]', 'from = ["11"]', "routes[0].from"),
        ('from = ["11*", "12*"]', 'from = ["*11"]', "routes[0].from"),
        ('from = ["11*", "12*"]', 'from = ["1O*"]', "routes[0].from"),
        ('id = "government"', 'id = "Gov"', "routes[0].id"),
        ("remind_at = [50, 100]", "remind_at = [100, 50]", "urgency.flash.remind_at"),
        ("remind_at = [50, 100]", "remind_at = [0]", "urgency.flash.remind_at"),
        ("remind_at = [50, 100]", 'remind_at = ["50"]', "urgency.flash.remind_at"),
        ("weight = 1000", "weight = -1", "urgency.flash.weight"),
        ('longest_life = "30d"', 'longest_life = "2y"', "arrival.longest_life"),
        ('expect = "refusal"', 'expect = "refused"', "tests[0].expect"),
        ('side = "send"', 'side = "both"', "tests[0].side"),
        ('urgency = "routine"', 'urgency = "soon"', "tests[0].urgency"),
        ('level = "秘密"', 'level = "密"', "tests[0].level"),
        ("[[flows]]", "[flows]", "flows"),
        ("[arrival]", "[[arrival]]", "arrival"),
    ],
)
def test_each_wrong_value_is_refused_by_its_key(old, new, key):
    assert refused(swapped(old, new)).key == key


def test_the_line_is_named():
    error = refused(swapped('longest_life = "30d"', 'longest_life = "30"'))
    assert error.line == TEXT.splitlines().index('longest_life = "30d"') + 1
    assert f"test.toml:{error.line}: arrival.longest_life" in str(error)


def test_the_line_of_the_nth_row_is_named():
    error = refused(swapped('from = ["*"]', 'from = ["?"]'))
    assert error.line == TEXT.splitlines().index('from = ["*"]') + 1


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"policy", b"a = 1\na = 2", b"x = " + b"[" * 100_000, b"x = " + b"9" * 5_000, b"#" * (MAX_POLICY_BYTES + 1)],
    ids=["empty", "utf8", "toml", "twice", "deep", "huge", "large"],
)
def test_bytes_that_are_no_policy(data):
    refused(data)


def test_lists_have_a_ceiling():
    many = ", ".join(f'"1{index:016}*"' for index in range(MAX_LISTED + 1))
    assert refused(swapped('to = ["11*"]', f"to = [{many}]")).key == "routes[0].to"


def test_tables_have_a_ceiling():
    assert refused(TEXT + "[[routes]]\n" * MAX_LISTED).key == "routes"


# ---- sense


@pytest.mark.parametrize(
    ("old", "new", "key", "says"),
    [
        ('highest = "work-secret"\n\n[zones.inner]', 'highest = "secret"\n\n[zones.inner]', "zones.outer.highest", "state secret"),
        ('highest = "secret"\n\n[[flows]]', 'highest = "work-secret"\n\n[[flows]]', "levels.secret", "never apply"),
        ('from = "outer"', 'from = "moon"', "flows[0].from", "no zone"),
        ('to = "inner"', 'to = "moon"', "flows[0].to", "no zone"),
        ('to = "inner"', 'to = "outer"', "flows[0].to", "within a zone"),
        ('both_ways = false\nhighest = "internal"', 'both_ways = false\nhighest = "secret"', "flows[0].highest", "never cross"),
        ('to = ["11*"]\nhighest = "secret"', 'to = ["11*"]\nhighest = "top-secret"', "routes[0].highest", "never pass"),
        ('from = ["11*", "12*"]', 'from = ["11*", "112*"]', "routes[0].from", "covered"),
        ('to = ["11*"]\nhighest = "secret"', 'to = ["11*"]\nhighest = "public"', "routes[0].id", "never matter"),
        ('id = "listed"', 'id = "government"', "routes[1].id", "twice"),
        ('deliver_within = "15min"', 'deliver_within = "2h"', "urgency.flash.deliver_within", "later"),
        ("weight = 1000", "weight = 50", "urgency.flash.weight", "lighter"),
        ('longest_life = "30d"', 'longest_life = "10min"', "urgency.urgent.deliver_within", "longest life"),
    ],
)
def test_each_contradiction_is_refused(old, new, key, says):
    error = refused(swapped(old, new))
    assert error.key == key
    assert says in str(error)


def level_block(text: str, level: str) -> str:
    return re.search(rf"\[levels\.{level}\]\n(?:.+\n)+", text)[0]


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('largest = "1MiB"', 'largest = "2MiB"', "largest"),
        ("timestamp = true", "timestamp = false", "timestamp"),
        ('["tsa-1"]', '["tsa-1", "tsa-2"]', "authorities"),
        ('["tsa-1"]', '"any"', "authorities"),
        ('["application/pdf", "text/plain"]', '["application/pdf", "image/png"]', "types"),
        ('["application/pdf", "text/plain"]', '"any"', "types"),
        ("approvals = 1", "approvals = 0", "approvals"),
    ],
)
def test_a_higher_level_is_never_handled_more_freely(old, new, key):
    level = "secret" if key == "approvals" else "internal"
    block = level_block(TEXT, level)
    if key == "approvals":
        looser = TEXT.replace(block, block.replace("approvals = 2", "approvals = 0"))
    else:
        assert old in block
        looser = TEXT.replace(block, block.replace(old, new))
    error = refused(looser)
    assert error.key == f"levels.{level}.{key}"
    assert "more freely" in str(error)


def test_a_higher_level_may_not_have_a_suite_of_its_own():
    block = level_block(TEXT, "public")
    assert refused(TEXT.replace(block, block.replace('"gm-1", "intl-1"', '"gm-1"'))).key == "levels.internal.suites"


def test_no_level_is_missing_below_one_that_passes():
    error = refused(TEXT.replace(level_block(TEXT, "internal"), ""))
    assert error.key == "levels"
    assert "internal is missing" in str(error)


def test_the_same_level_in_two_languages_is_refused():
    block = level_block(TEXT, "public")
    assert "twice" in str(refused(TEXT.replace(block, block + block.replace("levels.public", 'levels."公开"'))))


def test_of_two_equal_routes_the_later_is_refused():
    route = '[[routes]]\nid = "again"\nfrom = ["*"]\nto = ["*"]\nhighest = "internal"\n\n'
    assert refused(swapped("[arrival]", route + "[arrival]")).key == "routes[2].id"


def test_two_tests_of_one_name_are_refused():
    start = TEXT.index("[[tests]]")
    block = TEXT[start : TEXT.index("[levels.public]")]
    assert refused(TEXT[:start] + block + TEXT[start:]).key == "tests[1].name"


# ---- trials


@pytest.mark.parametrize(
    ("old", "new"), [('expect = "refusal"', 'expect = "clearance"'), ('rule = "builtin/state-secret-commercial"', 'rule = "routes"')]
)
def test_a_policy_that_fails_its_own_test_is_never_in_force(old, new):
    error = refused(swapped(old, new))
    assert error.key == "tests[0].expect"
    assert "no state secret outside" in str(error)
    assert "builtin/state-secret-commercial" in str(error)


# ---- fuzz

LINES = TEXT.splitlines()


@given(st.integers(0, len(LINES) - 1), st.text(max_size=20))
def test_any_line_changed_gives_a_policy_or_a_complaint(index, line):
    try:
        text = "\n".join([*LINES[:index], line, *LINES[index + 1 :]]).encode()
    except UnicodeEncodeError:
        return
    try:
        assert isinstance(load_policy(text, "test.toml"), Policy)
    except BadConfiguration as error:
        assert error.source == "test.toml"  # noqa: PT017  a policy is as good an answer


@given(st.binary(max_size=60))
def test_any_bytes_give_a_complaint(data):
    refused(data)


def test_the_text_is_toml():
    assert tomllib.loads(TEXT)
