"""``two_gateways``: two to five real gateways in virtual time, with everything that can go wrong between and inside them, decided by a seed.

Loss of requests and answers, damage, repetition, reordering, delay; partitions of minutes to days; gateways killed at any await and started
again; clocks set forward and back; a time authority that is away; offices that are closed; newer directories. At every commit and once more
at rest ``sim_oracle`` looks whether a promise is broken. A failing seed is run again by itself with

    python -m tests.faults.sim_run SEED
"""

from __future__ import annotations

import sys
import time

import pytest

from tests.faults.sim_run import Told, run_in_memory
from tests.faults.torture import FACTOR, rounds

SHORT_SECONDS = 30.0  # the short form ends with the seed that is under way by then, however slow the machine is
SEEDS = rounds(40, 3000)
SHARES = 4


@pytest.mark.parametrize("share", range(SHARES))
def test_two_gateways(share: int, capsys: pytest.CaptureFixture[str]) -> None:
    began, told = time.monotonic(), []
    for seed in range(share, SEEDS, SHARES) if FACTOR else range(2 * share, 2 * SEEDS, 2 * SHARES):  # some odd ones last for virtual weeks
        told.append(run_in_memory(seed))
        assert not told[-1].failures, f"seed {seed}:\n" + "\n".join((*told[-1].notes, *told[-1].failures))
        if not FACTOR and time.monotonic() - began > SHORT_SECONDS / SHARES:
            break
    with capsys.disabled():
        sys.stdout.write(f"\n{_figures(told)}\n")


def test_one_seed_is_one_run() -> None:
    """All that was decided and all that became of it, to the virtual millisecond."""
    first, again = (run_in_memory(4711) for _ in range(2))
    assert first.notes == again.notes
    assert first.commits == again.commits
    assert first.kills


def _figures(told: list[Told]) -> str:
    exchanges, commits = sum(one.exchanges for one in told), sum(one.commits for one in told)
    kills, hours = sum(one.kills for one in told), sum(one.hours for one in told)
    return f"seeds {told[0].seed} to {told[-1].seed}: {exchanges} exchanges, {commits} commits, {kills} kills, {hours:.0f} virtual hours"
