"""What docs/ and deploy/ name is there: command lines parse, metrics and codes exist, links lead somewhere, named tests are tests."""

from __future__ import annotations

import argparse
import ast
import contextlib
import dataclasses
import io
import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from crypto.errors import YizhanError
from gateway.cli.main import COMMANDS, _parser
from gateway.cli.trace import _EVENTS_ZH
from gateway.cli.voice import Voice
from gateway.config import Config
from gateway.core.exchange import RECEIPT_EVENTS, TRANSITIONS, State
from gateway.core.explain import CATALOGUE
from gateway.core.leaf import LeafKind
from gateway.core.levels import LEVELS
from gateway.core.policy import MODES
from gateway.core.step import WorkKind
from gateway.flow.pressure import Full
from gateway.net.metrics import Metrics
from gateway.net.problems import PROBLEMS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
DEPLOY = ROOT / "deploy"
PAGES = sorted([*DOCS.rglob("*.md"), *DEPLOY.rglob("*.md"), ROOT / "README.md", ROOT / "certs/README.md", ROOT / "policies/README.md"])
FILES = sorted({*PAGES, *(path for path in DEPLOY.rglob("*") if path.is_file() and "secrets" not in path.parts)})
OURS = [DOCS / name for name in ("architecture.md", "operations.md", "threat-model.md", "receipts.md")]


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


# ---- command lines ---------------------------------------------------------------------------------------------------------------


def command_lines(text: str) -> Iterator[str]:
    """Every ``yizhan …``: in code spans, in blocks, in unit and compose files, in a JSON list of a container file."""
    yield from re.findall(r"`(yizhan [a-z][^`\n]*)`", text)
    for line in text.splitlines():
        listed = re.search(r'\["yizhan"[^\]]*\]', line)
        # By itself, after a key of a unit or compose file, or carried out by another command: a name in a sentence is no command.
        alone = re.match(r"(|.*[\s=])((?:[\w./-]*/)?yizhan [a-z].*)$", line) if "`" not in line else None
        if listed:
            yield shlex.join(json.loads(listed[0]))
        elif alone and (not (before := alone[1].strip()) or before.endswith((":", "=")) or before.startswith(("docker ", "runuser "))):
            yield alone[2]


def words_of(command: str) -> list[str]:
    """Its arguments, without remarks and without what stands for more of the same."""
    return [word for word in shlex.split(command, comments=True)[1:] if word != "…"]


@cache
def parser() -> argparse.ArgumentParser:
    return _parser(Voice("en"), COMMANDS)


def subcommands(of: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    groups = [action for action in of._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(groups[0].choices) if groups else {}


def complaint(words: list[str]) -> str | None:
    """Why this is no command line, or None. A bare command name, without arguments, names the command."""
    here = parser()
    rest = list(words)
    while rest and rest[0] in subcommands(here):
        here = subcommands(here)[rest.pop(0)]
    if not rest and here is not parser():
        return None
    error = io.StringIO()
    try:
        with contextlib.redirect_stderr(error):
            parser().parse_args(words)
    except SystemExit:
        return error.getvalue().strip().splitlines()[-1]
    return None


def test_the_check_of_command_lines_can_fail():
    assert complaint(["serve", "--home", "x"]) is None
    assert complaint(["audit", "verify"]) is None
    assert complaint(["serve", "--hme", "x"]) is not None
    assert complaint(["sreve"]) is not None
    assert complaint(["send", "--home", "x", "a.pdf"]) is not None
    sample = 'ExecStart=/opt/yizhan/bin/yizhan serve --home x\nCMD ["yizhan", "serve"]\n`yizhan doctor` and\n    command: yizhan audit verify --home y\nthe yizhan folder'
    assert [words_of(each) for each in command_lines(sample)] == [
        ["doctor"],
        ["serve", "--home", "x"],
        ["serve"],
        ["audit", "verify", "--home", "y"],
    ]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_command_line_is_one(path: Path):
    found = list(command_lines(text_of(path)))
    assert [(line, problem) for line in found if (problem := complaint(words_of(line)))] == []


def test_command_lines_are_found_at_all():
    assert len(list(command_lines(text_of(DOCS / "operations.md")))) > 20
    for name in ("systemd/yizhan.service", "container/Containerfile", "compose.yaml", "README.md"):
        assert list(command_lines(text_of(DEPLOY / name))), name


def test_every_command_is_in_the_operations_manual():
    text = text_of(DOCS / "operations.md")
    shown = set(subcommands(parser())) - {"demo", "bench"}  # the two for who evaluates: README
    assert [name for name in sorted(shown) if f"yizhan {name}" not in text] == []


# ---- metrics ---------------------------------------------------------------------------------------------------------------------


def samples() -> dict[str, tuple[str, ...]]:
    """Every name a scrape may show, with its labels."""
    found: dict[str, tuple[str, ...]] = {}
    for name, collector in Metrics()._registry._names_to_collectors.items():
        found[name] = tuple(getattr(collector, "_labelnames", ())) + (("le",) if name.endswith("_bucket") else ())
    return found


@pytest.mark.parametrize("path", [path for path in FILES if "yizhan_" in text_of(path)], ids=name_of)
def test_every_metric_named_exists(path: Path):
    named = set(re.findall(r"\byizhan_[a-z_]+\b", text_of(path)))
    assert named - set(samples()) == set()


def test_every_metric_is_explained_with_its_labels():
    rows = {row[1]: row[2] for row in re.finditer(r"^\| `(yizhan_\w+)` \|([^|]*)\|", text_of(DOCS / "operations.md"), re.MULTILINE)}
    assert {
        name: set(re.findall(r"`(\w+)`", labels)) & {"peer", "direction", "state", "level", "code", "stage", "origin", "use", "mode"}
        for name, labels in rows.items()
    } == {name: set(labels) for name, labels in samples().items() if name in rows}
    families = {family.name + ("_total" if family.type == "counter" else "") for family in Metrics()._registry.collect()}
    assert set(rows) == families


def test_alert_rules_match_labels_and_states_that_exist():
    text = text_of(DEPLOY / "prometheus/yizhan-alerts.yml")
    known = samples()
    for name, matchers in re.findall(r"(yizhan_\w+)\{([^}]*)\}", text):
        for label, values in re.findall(r'(\w+)=~?"([^"]*)"', matchers):
            assert label in known[name], (name, label)
            if label == "state":
                assert set(values.split("|")) <= {str(state) for state in State}
            if label == "code":
                assert set(values.split("|")) <= set(PROBLEMS) | error_codes() | set(CATALOGUE)
            if label == "stage":
                assert set(values.split("|")) <= stages()


def stages() -> set[str]:
    sources = [text_of(path) for folder in ("flow", "net") for path in (ROOT / "gateway" / folder).glob("*.py")]
    return {stage for source in sources for stage in re.findall(r'\.latency\(\s*"([a-z-]+)"', source)}


# ---- words -----------------------------------------------------------------------------------------------------------------------


@cache
def error_codes() -> set[str]:
    codes: set[str] = set()
    open_classes: list[type[YizhanError]] = [YizhanError]
    while open_classes:
        one = open_classes.pop()
        codes.add(one.code)
        open_classes += one.__subclasses__()
    return codes


def readiness_codes() -> set[str]:
    sources = text_of(ROOT / "gateway/flow/rooms.py") + text_of(ROOT / "gateway/flow/degraded.py")
    return set(re.findall(r'Obstacle\(\s*code="([a-z-]+)"', sources)) - {"time-authority", "disk-low"}  # these keep single offers waiting


def config_keys() -> set[str]:
    sections = get_type_hints(Config)
    return {f"{section}.{field.name}" for section, kind in sections.items() for field in dataclasses.fields(kind)}


def vocabulary() -> set[str]:
    """Every hyphenated word a reader may meet in code style."""
    commands = set(subcommands(parser())) | {name for each in subcommands(parser()).values() for name in subcommands(each)}
    kinds = {str(kind) for kind in LeafKind} | set(get_args(WorkKind)) | set(LEVELS) | stages()
    threads = {"stage-out", "stage-in", "heavy-out", "heavy-in"} | set(get_args(Full))
    suites = {"gm-1", "intl-1"}
    return set(PROBLEMS) | error_codes() | readiness_codes() | set(CATALOGUE) | commands | kinds | threads | suites | set(MODES)


PLAIN = {"systemd-analyze"}  # words of others
FILES_LIKE_SETTINGS = {"storage.key", "office.folder", "gateway.toml", "policy.md", "limits.md"}  # files, and the end of a logger's name


@pytest.mark.parametrize("path", OURS, ids=name_of)
def test_every_code_named_exists(path: Path):
    named = set(re.findall(r"`([a-z]+(?:-[a-z0-9]+)+)`", text_of(path)))
    assert named - vocabulary() - PLAIN == set()


def test_the_readiness_table_is_the_codes():
    section = text_of(DOCS / "operations.md").split("`GET /readyz`", 1)[1].split("\n## ", 1)[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE)) == readiness_codes()


@pytest.mark.parametrize("path", [DOCS / "operations.md", DEPLOY / "README.md", DEPLOY / "prometheus/yizhan-alerts.yml"], ids=name_of)
def test_every_setting_named_exists(path: Path):
    sections = "|".join(get_type_hints(Config))
    named = set(re.findall(rf"(?<![\w./])(?:{sections})\.[a-z]+(?:_[a-z]+)*(?![\w/])", text_of(path)))
    assert named - config_keys() == FILES_LIKE_SETTINGS & named


def test_every_log_line_to_wake_for_is_logged():
    sources = "\n".join(text_of(path) for folder in ("gateway", "adapters") for path in (ROOT / folder).rglob("*.py"))
    table = text_of(DOCS / "operations.md").split("Wake somebody for:", 1)[1].split("\n## ", 1)[0]
    lines = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    pieces = [piece.strip(" ;") for line in lines for piece in line.split("…") if piece.strip(" ;")]
    assert lines
    assert [piece for piece in pieces if piece not in sources] == []


# ---- receipts --------------------------------------------------------------------------------------------------------------------


def test_every_event_has_its_row_and_its_chinese_word():
    table = text_of(DOCS / "receipts.md").split("## Events", 1)[1].split("\n## ", 1)[0]
    rows = dict(re.findall(r"^\| `([A-Z][A-Za-z]+)` \| ([^ |]+)", table, re.MULTILINE))
    assert rows == {event.value: _EVENTS_ZH[event.value] for event in RECEIPT_EVENTS}


def test_every_state_of_the_sender_is_explained():
    table = text_of(DOCS / "receipts.md").split("## What the sender sees", 1)[1]
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)*)`", table))
    assert named >= {str(edge.target) for edge in TRANSITIONS if edge.direction == "out"}
    for page in OURS:
        states = set(re.findall(r"`([A-Z]+_[A-Z_]+)`", text_of(page))) - {"YIZHAN_PASSPHRASE", "PR_SET_MDWE"}
        assert states <= {str(state) for state in State}


# ---- links and tests -------------------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the usual viewers make them."""
    text = re.sub(r"(?ms)^```.*?^```", "", text_of(page))
    heads = [re.sub(r"[`*_]|\[|\]\([^)]*\)", "", head).strip().lower() for head in re.findall(r"(?m)^#+ (.*)$", text)]
    return {re.sub(r"[^\w\- ]", "", head).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_relative_links_lead_somewhere(path: Path):
    text = re.sub(r"(?ms)^```.*?^```", "", text_of(path))
    text = re.sub(r"(?<!\[)`[^`\n]*`", "", text)  # a pattern in code looks like a link
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        page = (path.parent / target).resolve() if target else path
        if not page.exists() or (anchor and anchor not in anchors(page)):
            dead.append(link)
    assert dead == []


@cache
def functions_of_tests(path: Path) -> frozenset[str]:
    tree = ast.parse(text_of(path))
    return frozenset(
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


def test_every_test_the_threat_model_names_exists():
    named = re.findall(r"`([a-z_/]+\.py)::(\w+)`", text_of(DOCS / "threat-model.md"))
    assert len(named) > 40
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (ROOT / "tests" / file).exists() or name not in functions_of_tests(ROOT / "tests" / file)
    ]
    assert missing == []


def test_every_threat_has_a_test_or_says_that_it_has_none():
    rows = re.findall(r"(?m)^\| (?!attacker)(?!---)(.+) \|$", text_of(DOCS / "threat-model.md"))
    assert len(rows) > 30
    assert [row for row in rows if "::test_" not in row and "**No test**" not in row] == []
