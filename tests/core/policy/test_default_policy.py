"""The policy that is delivered: it loads, its tests are many, and it is what its comments say."""

import json
import re
import tomllib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.core.levels import LEVELS
from gateway.core.policy import Clearance, Hold, Refusal, decide, load_policy
from gateway.core.policy.trial import trials
from tests.core.policy.worlds import BUREAU, COMPANY, OFFICE, part, party, question

PATH = Path(__file__).resolve().parents[3] / "policies" / "default.toml"
POLICY = load_policy(PATH.read_bytes(), "policies/default.toml")


def ask(**changes):
    extranet = {"sender": party(OFFICE, "extranet"), "recipients": (party(BUREAU, "extranet"),)}
    return decide(POLICY, question(**extranet | changes))


def test_its_own_tests_pass():
    found = list(trials(POLICY))
    assert len(found) >= 10
    assert all(trial.passed for trial in found)


def test_a_failed_trial_would_show():
    wrong = replace(POLICY, tests=tuple(replace(case, rule="nothing") for case in POLICY.tests))
    assert not any(trial.passed for trial in trials(wrong))


@pytest.mark.parametrize("level", LEVELS)
def test_what_passes_on_the_extranet(level):
    assert isinstance(ask(level=level), Refusal if LEVELS[level].state_secret else Clearance)


def test_unmarked_documents_are_held():
    assert isinstance(ask(level=None), Hold)


def test_every_level_needs_a_timestamp():
    assert all(handling.timestamp_required and handling.authorities is None for handling in POLICY.levels.values())


@pytest.mark.parametrize("suite", ["gm-1", "intl-1"])
def test_one_suite_is_enough(suite):
    cleared = ask(sender=party(OFFICE, "extranet", suites=(suite,)))
    assert cleared.suite.id == suite


def test_the_national_suite_comes_first():
    assert ask().suite.id == "gm-1"


def test_companies_get_what_is_internal_and_no_more():
    company = (party(COMPANY, "extranet"),)
    assert isinstance(ask(recipients=company, level="internal"), Clearance)
    assert isinstance(ask(recipients=company, level="work-secret"), Refusal)


@pytest.mark.parametrize(
    "media_type", ["application/pdf", "application/ofd", "text/plain", "application/zip", "image/png", "application/xml"]
)
def test_the_types_agencies_exchange_pass_at_every_level(media_type):
    assert isinstance(ask(level="work-secret", parts=(part("a", media_type),)), Clearance)


def test_a_gigabyte_passes():
    assert isinstance(ask(parts=(part(size=1024**3),)), Clearance)


@pytest.mark.parametrize("word", ["秘密", "公开", "工作秘密", "特提", "政务外网"])
def test_it_is_commented_in_the_words_of_the_trade(word):
    assert word in PATH.read_text("utf-8")


def test_no_line_is_too_long_to_read():
    assert max(len(line) for line in PATH.read_text("utf-8").splitlines()) <= 140
    assert not re.search(r"[ \t]+$", PATH.read_text("utf-8"), re.MULTILINE)


DEGRADED = {"strict", "crl_grace", "directory_grace", "disk_large", "disk_large_waits", "disk_routine_waits"}  # spelled in no default


def test_the_examples_of_the_manual_are_of_the_language():
    """Every TOML example of docs/policy.md, put together over the default policy, loads."""
    manual = (PATH.parents[1] / "docs" / "policy.md").read_text("utf-8")
    known = PATH.read_text("utf-8")
    keys = set(re.findall(r"^(\w+) =", known, re.MULTILINE)) | {"both_ways"} | DEGRADED
    for example in re.findall(r"```toml\n(.*?)```", manual, re.DOTALL):
        assert tomllib.loads(example)
        assert set(re.findall(r"^(\w+) =", example, re.MULTILINE)) <= keys
    zone = '[zones.archive]\nname = "档案网"\nprofile = "commercial"\nhighest = "internal"\n\n'
    (flow,) = (
        example[example.index("[[flows]]") :] for example in re.findall(r"```toml\n(.*?)```", manual, re.DOTALL) if "[[flows]]" in example
    )
    assert load_policy((known + zone + flow).encode()).flows[0].id == "extranet-to-archive"
    (degraded,) = (example for example in re.findall(r"```toml\n(.*?)```", manual, re.DOTALL) if "[degraded." in example)
    begin = known.index("[degraded.public]")
    forgiving = load_policy((known[:begin] + degraded + known[known.index("[degraded.internal]") :]).encode()).allowance("public")
    assert forgiving.crl_grace == timedelta(hours=6)
    assert {key for key in DEGRADED if f"\n{key} = " in degraded} == DEGRADED


def test_the_reason_shown_in_the_manual_is_the_reason_given():
    manual = (PATH.parents[1] / "docs" / "policy.md").read_text("utf-8")
    shown = json.loads(re.search(r"```json\n(.*?)```", manual, re.DOTALL)[1])
    (reason,) = ask(level="public", parts=(part("安装.exe", "application/x-msdownload"),)).reasons
    assert shown == {"rule": reason.rule, "zh": reason.zh, "en": reason.en, "fix": reason.fix, "at": reason.at}
