"""What a command loads before it does its work: a command waits for nothing it does not use, and a gateway carries nothing for months."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gateway.cli.main import COMMANDS

HEAVY = {"sqlalchemy", "aiohttp", "cryptography", "asyncio", "msgspec", "reportlab", "openpyxl", "prometheus_client"}


def loaded(*arguments: str) -> set[str]:
    """Every module a command line has loaded by the time its help is shown, in a fresh interpreter."""
    program = (
        "import io, sys; from contextlib import redirect_stdout, suppress; from gateway.cli.main import main\n"
        "with redirect_stdout(io.StringIO()), suppress(SystemExit): main(sys.argv[1:])\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_list_of_commands_loads_none_of_them():
    modules = loaded("--help")
    assert "gateway.cli.main" in modules
    assert not modules & HEAVY
    assert not modules & {f"gateway.cli.{entry.module}" for entry in COMMANDS.values()}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_loads_its_own_file_and_no_other_commands(command):
    modules = loaded(command, "--help")
    own = COMMANDS[command].module
    assert modules & {f"gateway.cli.{entry.module}" for entry in COMMANDS.values()} == {f"gateway.cli.{own}"}


def test_a_gateway_carries_neither_demo_nor_benchmark_nor_the_pilots_tools():
    program = "import sys, gateway.cli.serve, gateway.app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert "gateway.store.journal" in modules
    strangers = (
        "reportlab",
        "openpyxl",
        "psutil",
        "gmssl",
        "sqlalchemy.orm",
        "gateway.pilot",
        "gateway.doctor",
    )
    assert [name for name in strangers if name in modules] == []
    assert [name for name in modules if name.startswith(("gateway.cli.demo", "gateway.cli.bench", "gateway.cli.specimen"))] == []
