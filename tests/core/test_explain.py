"""Every code explains itself: the catalogue is complete for the whole code base, and its texts can be filled from what the code gives."""

import ast
import string
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from crypto.errors import Malformed, RemoteError, YizhanError
from gateway.core.errors import ProblemError
from gateway.core.explain import MAX_FACT_CHARACTERS, Reason, explain, explain_error, shown
from gateway.core.explanations import CATALOGUE
from gateway.core.organisation import BadOrganisationCode

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for room in ("crypto", "gateway", "adapters") for path in (ROOT / room).rglob("*.py"))
OWN = ("document/", "part/", "policy/", "builtin/")  # subjects whose every entry must be in use
FREE = {"rule", "at"}


@cache
def trees() -> tuple[tuple[Path, ast.Module], ...]:
    return tuple((path, ast.parse(path.read_text("utf-8"), path.name)) for path in SOURCES)


def error_codes() -> set[str]:
    """``code = "…"`` and ``code: ClassVar[str] = "…"`` in the body of any class."""
    found = set()
    for _, tree in trees():
        for owner in ast.walk(tree):
            for line in owner.body if isinstance(owner, ast.ClassDef) else ():
                target = line.targets[0] if isinstance(line, ast.Assign) else line.target if isinstance(line, ast.AnnAssign) else None
                if isinstance(target, ast.Name) and target.id == "code" and isinstance(line.value, ast.Constant):
                    found.add(line.value.value)
    return found


def calls(*names: str) -> Iterator[tuple[Path, ast.Call, str]]:
    """Calls of functions or methods of these names whose first argument is a text."""
    for path, tree in trees():
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and call.args and isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str):
                name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
                if name in names:
                    yield path, call, call.args[0].value


def placeholders(code: str) -> set[str]:
    text = CATALOGUE[code]
    templates = (text.zh, text.en, text.fix, text.fix_zh)
    return {name for template in templates for _, name, _, _ in string.Formatter().parse(template) if name is not None}


def test_the_walk_sees_the_code():
    assert {"malformed", "bad-input", "clearance-void", "error"} <= error_codes()
    assert any(code == "policy/no-route" for _, _, code in calls("explain"))


def test_every_error_code_has_an_entry():
    assert sorted(error_codes() - CATALOGUE.keys()) == []


def test_every_problem_word_has_an_entry():
    assert sorted({word for _, _, word in calls("ProblemError")} - CATALOGUE.keys()) == []


def test_every_explained_code_has_an_entry():
    assert sorted({f"{path.relative_to(ROOT)}: {code}" for path, _, code in calls("explain") if code not in CATALOGUE}) == []


def test_every_rule_named_anywhere_has_an_entry():
    named = {node.value for _, tree in trees() for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    rules = {text for text in named if text.startswith(OWN) and " " not in text and not text.endswith("/")}
    assert sorted(rules - CATALOGUE.keys()) == []


def test_no_entry_of_ours_is_out_of_use():
    sources = {path: path.read_text("utf-8") for path in SOURCES if "explanations" not in path.parts}
    unused = [code for code in CATALOGUE if code.startswith(OWN) and not any(f'"{code}"' in text for text in sources.values())]
    assert unused == []


def test_every_use_gives_the_facts_its_text_names():
    lacking = [
        f"{path.relative_to(ROOT)}:{call.lineno}: {code} lacks {sorted(missing)}"
        for path, call, code in calls("explain", "complain")
        if code in CATALOGUE
        and not any(keyword.arg is None for keyword in call.keywords)
        and (missing := placeholders(code) - {keyword.arg for keyword in call.keywords})
    ]
    assert lacking == []


def test_error_texts_need_no_facts():
    """``explain_error`` has none to give."""
    assert [code for code in error_codes() if code in CATALOGUE and placeholders(code)] == []


@pytest.mark.parametrize("code", CATALOGUE)
def test_texts_are_complete_and_speak_their_language(code):
    text = CATALOGUE[code]
    assert text.zh
    assert text.en
    assert any("\u4e00" <= character <= "\u9fa5" for character in text.zh)
    assert bool(text.fix) == bool(text.fix_zh)
    assert text.fix or code == "policy/permitted"


def test_a_reason_carries_rule_place_and_texts():
    reason = explain("document/number", number="国办发[2012]1号", suggestion="国办发〔2012〕1号", at="number")
    assert reason.rule == "document/number"
    assert reason.at == "number"
    assert "国办发[2012]1号" in reason.zh
    assert "国办发[2012]1号" in reason.en
    assert reason.fix == "Write 国办发〔2012〕1号"
    assert "国办发〔2012〕1号" in reason.fix_zh


def test_a_rule_of_a_policy_file_replaces_the_code():
    assert (
        explain("policy/type", rule="levels/public/types", part="a", type="b", level="公开", level_id="public").rule
        == "levels/public/types"
    )


@pytest.mark.parametrize("code", ["no/such-code", "document/number"])
def test_an_unknown_code_or_a_missing_fact_is_our_defect(code):
    with pytest.raises(AssertionError, match="internal"):
        explain(code)


@pytest.mark.parametrize("fact", ["a\nb", "a\x1b[31mb", "a\u202eb", "a\ufeffb", "a\ud800b", "a\u2066b", "a\x85b"])
def test_facts_cannot_break_out_of_their_line(fact):
    assert shown(fact) == "a�b" or "[31m" in shown(fact)
    reason = explain("document/title-type", type=fact, at=fact)
    for text in (reason.zh, reason.en, reason.at):
        assert not set(text) & set("\n\x1b\u202e\ufeff\ud800\u2066\x85")


def test_facts_cannot_format():
    assert explain("document/title-type", type="{0.__class__}").fix == "End the title in {0.__class__}."


def test_long_facts_are_cut():
    assert len(shown("x" * 10_000)) == MAX_FACT_CHARACTERS
    assert shown("x" * MAX_FACT_CHARACTERS) == "x" * MAX_FACT_CHARACTERS


def test_an_error_explains_itself_with_its_message():
    reason = explain_error(BadOrganisationCode("it is too short", org="1", problem="length"), at="to")
    assert reason.rule == "organisation-code"
    assert "it is too short" in reason.en
    assert "it is too short" in reason.zh
    assert reason.at == "to"


def test_an_error_without_entry_speaks_as_its_family():
    class Nobody(Malformed):
        code = "nobody-wrote-this-down"

    reason = explain_error(Nobody("x"))
    assert reason.rule == "nobody-wrote-this-down"
    assert reason.en.startswith(CATALOGUE["malformed"].en)


@pytest.mark.parametrize("error", [YizhanError("x"), RemoteError("x"), ProblemError("clock", "x", retryable=True)])
def test_every_error_can_be_explained(error):
    assert isinstance(explain_error(error), Reason)
