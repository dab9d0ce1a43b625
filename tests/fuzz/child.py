"""One target under the coverage-guided fuzzer, in a process of its own: ``python -m tests.fuzz.child NAME CORPUS… -libfuzzer=flags``.

The code under test is instrumented while it is imported, so it must not have been imported before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from random import Random

import atheris

ROOMS = ["crypto", "gateway", "adapters"]
OURS = 8  # of so many mutations one knows the structure of DER and JSON; the others are libFuzzer's own and ten times faster

with atheris.instrument_imports(include=ROOMS):
    from tests.fuzz.mutate import mutated
    from tests.fuzz.target import Target, attempt
    from tests.fuzz.targets import TARGETS


def main(arguments: list[str]) -> None:
    """Fuzz until libFuzzer's flags say it is enough."""
    target = TARGETS[arguments[1]]
    seeds = target.seeds()
    atheris.Setup([arguments[0], *arguments[2:]], lambda data: _attempt(target, data), custom_mutator=_mutator(target, seeds))
    atheris.Fuzz()


def _attempt(target: Target, data: bytes) -> None:
    attempt(target, data)


def _mutator(target: Target, seeds: Sequence[bytes]) -> Callable[[bytes, int, int], bytes]:
    def mutate(data: bytes, most: int, seed: int) -> bytes:
        if seed % OURS == 0:
            return mutated(Random(seed), target.shape, data, seeds)[:most]
        return atheris.Mutate(data, most)

    return mutate


if __name__ == "__main__":
    main(sys.argv)
