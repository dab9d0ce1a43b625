"""Which language is spoken, and how a refusal is told."""

import io
import json

import pytest

from crypto.errors import Malformed
from gateway.cli.main import main
from gateway.cli.voice import Voice, language_of, language_of_arguments
from gateway.core.errors import BadInput
from gateway.core.explain import explain


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_TW"}, "zh"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C.UTF-8"}, "en"),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": ""}, "zh"),
    ],
)
def test_the_locale_decides(environment, language):
    assert language_of(environment) == language


@pytest.mark.parametrize(
    ("arguments", "language"), [(["trace", "--lang", "zh"], "zh"), (["--lang=en", "trace"], "en"), (["--lang", "fr"], "en")]
)
def test_an_argument_decides_before_the_locale(arguments, language, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    assert language_of_arguments(arguments) == language


def voice(lang: str, *, as_json: bool = False) -> Voice:
    return Voice(lang, json=as_json, out=io.StringIO(), err=io.StringIO())


def test_a_refusal_says_what_and_what_to_do_and_its_code():
    reason = explain("cli/not-in-inbox", exchange="01")
    for lang, what, fix in (("zh", reason.zh, reason.fix_zh), ("en", reason.en, reason.fix)):
        said = voice(lang)
        said.error(BadInput("x", reasons=(reason,)))
        text = said.err.getvalue()
        assert what in text
        assert fix in text
        assert "cli/not-in-inbox" in text
        assert said.out.getvalue() == ""


def test_an_error_without_reasons_is_explained_by_its_code():
    said = voice("en")
    said.error(Malformed("eleven bytes too many"))
    assert "eleven bytes too many" in said.err.getvalue()
    assert "malformed" in said.err.getvalue()


def test_programs_get_json_and_nothing_else_on_standard_output():
    said = voice("zh", as_json=True)
    said.say("给人看", "for people")
    said.value({"b": "值", "a": 1})
    assert json.loads(said.out.getvalue()) == {"a": 1, "b": "值"}
    said = voice("zh", as_json=True)
    said.error(BadInput("x", reasons=(explain("cli/not-in-inbox", exchange="01"),)))
    assert json.loads(said.out.getvalue())["reasons"][0]["rule"] == "cli/not-in-inbox"


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_every_command_explains_itself(lang, capsys):
    with pytest.raises(SystemExit) as end:
        main(["--lang", lang, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for command in ("init", "serve", "send", "trace", "sign-for", "return", "audit", "evidence", "fsck", "doctor", "authority"):
        assert command in text
        with pytest.raises(SystemExit) as end:
            main([command, "--lang", lang, "--help"])
        assert end.value.code == 0
        assert capsys.readouterr().out
