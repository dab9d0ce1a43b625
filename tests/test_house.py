"""The house itself: locks that pin everything and name no host, a project whose dependencies are explained."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = SETTINGS["project"]


def pins(lock: Path) -> dict[str, list[str]]:
    """Distribution -> its hashes, of a lock file; every logical line must be a pin."""
    text = re.sub(r"(?m)^\s*#.*$", "", lock.read_text(encoding="utf-8"))
    found = {}
    for line in filter(None, (line.strip() for line in text.replace("\\\n", " ").splitlines())):
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([^\s;]+)(?:\s*;[^-]+)?((?:\s+--hash=sha256:[0-9a-f]{64})+)", line)
        assert match, f"{lock.name}: not a pin with hashes: {line[:100]}"
        found[f"{match[1]}=={match[2]}"] = match[3].split()
    return found


def normal(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_lock_pins_with_hashes_and_names_no_host(lock: Path):
    assert pins(lock)
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"(?m)^\s*--(index-url|extra-index-url|find-links|trusted-host)", text)


def test_the_locks_agree():
    assert [lock.name for lock in LOCKS] == ["demo.txt", "dev.txt", "fuzz.txt", "run.txt"]
    demo, dev, fuzz, run = (set(pins(lock)) for lock in LOCKS)
    assert run < demo < dev
    assert {pin.split("==")[0] for pin in fuzz - run} == {"atheris"}  # not for every machine, so in no other lock


def test_locks_hold_every_declared_dependency():
    extras = PROJECT["optional-dependencies"]
    everywhere = [each for name, extra in extras.items() if name != "fuzz" for each in extra]
    wanted = {"run.txt": [], "demo.txt": extras["demo"], "dev.txt": everywhere, "fuzz.txt": extras["fuzz"]}
    for lock in LOCKS:
        locked = {pin.split("==")[0] for pin in pins(lock)}
        assert {normal(each) for each in PROJECT["dependencies"] + wanted[lock.name]} <= locked


def test_every_direct_dependency_is_explained():
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").lower()
    direct = PROJECT["dependencies"] + [each for extra in PROJECT["optional-dependencies"].values() for each in extra]
    assert [name for name in map(normal, direct) if f"`{name}`" not in text] == []


def test_decisions_are_numbered_without_gaps():
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))]
    assert numbers == list(range(len(numbers)))  # 0 is the template


def test_every_module_of_the_gateway_has_its_place_in_the_order_of_imports():
    contracts = SETTINGS["tool"]["importlinter"]["contracts"]
    placed = {module.strip() for layer in contracts[0]["layers"] for module in re.split("[:|]", layer)}
    tops = {f"gateway.{path.stem}" for path in (ROOT / "gateway").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    tops -= {"gateway.__init__"}
    assert tops <= placed
    above = {module for module in tops if module not in {"gateway.store", "gateway.net", "gateway.flow", "gateway.core"}}
    assert above - {"gateway.app"} <= set(contracts[1]["source_modules"])
