"""Any bytes give a good value or one of our errors, nothing else, within bounded time and memory (see ``target``).

Good values of both suites, bent in every way of ``mutate``, against every parser of ``targets``; then sizes no peer should send, and
what was found before. The short form is the same in every run; the long form (``make torture``) draws anew and prints what it drew.
"""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crypto.errors import KeyUnusable, LocalError, Malformed, YizhanError
from gateway.core.canonical import Wire
from gateway.pilot_records import Record
from tests.faults.torture import FACTOR, rounds
from tests.fuzz.mutate import mutated
from tests.fuzz.target import Broken, Target, attempt, shown
from tests.fuzz.targets import TARGETS
from tests.fuzz.wire_targets import KINDS

QUICK = 10.0  # seconds of CPU for a megabyte, counted by coverage as well (three times as slow); what is quadratic takes minutes
VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "fuzz"
FOUND = sorted(VECTORS.glob("*/*.bin"))
EACH = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


@EACH
def test_good_values_are_good(target: Target) -> None:
    assert "value" in [attempt(target, seed) for seed in target.seeds()]


@EACH
def test_any_bytes_give_a_value_or_an_error_of_ours(target: Target) -> None:
    seeds = list(target.seeds())
    bent = st.builds(mutated, st.randoms(use_true_random=False), st.just(target.shape), st.sampled_from(seeds), st.just(seeds))
    examples = rounds(30, 2_000) if target.slow else rounds(150, 20_000)

    @settings(
        max_examples=examples,
        derandomize=not FACTOR,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.one_of(bent, bent, bent, st.binary(max_size=300)))
    def holds(data: bytes) -> None:
        attempt(target, data)

    holds()


@EACH
def test_memory_stays_within_its_ceiling(target: Target) -> None:
    """Python's own memory, which is where a small input would grow: what libraries take is bounded by the process in ``make fuzz``."""
    seeds = list(target.seeds())
    random = Random(f"memory/{target.name}")
    inputs = [*seeds[:3], *(mutated(random, target.shape, random.choice(seeds), seeds) for _ in range(3 if target.slow else 10))]
    for data in inputs:
        attempt(target, data)  # caches are filled
    tracemalloc.start()
    try:
        for data in inputs:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            attempt(target, data)
            grown = (tracemalloc.get_traced_memory()[1] - before) / (1 << 20)
            assert grown <= target.mib, f"{grown:.1f} MiB for {shown(data)}"
    finally:
        tracemalloc.stop()


MEGABYTE = 1 << 20
GIANTS = {
    "brackets": b"[" * MEGABYTE,
    "objects": b'{"a":' * (MEGABYTE // 5),
    "closed": b"[" * (MEGABYTE // 2) + b"]" * (MEGABYTE // 2),
    "digits": b"9" * MEGABYTE,
    "text": b'"' + "公".encode() * (MEGABYTE // 3) + b'"',
    "escapes": b'"' + b"\\\\" * (MEGABYTE // 2) + b'"',
    "nested DER": b"\x30\x80" * (MEGABYTE // 2),
    "long DER": b"\x30\x83\x0f\xff\xfb" + b"\x02\x01\x01" * ((MEGABYTE - 5) // 3),
    "integer": b"\x02\x83\x0f\xff\xfb" + b"\x7f" * (MEGABYTE - 5),
    "lines": b"\n" * MEGABYTE,
    "dots": b"a." * (MEGABYTE // 2),
    "zeros": bytes(MEGABYTE),
    "ones": b"\xff" * MEGABYTE,
}


@EACH
def test_giants_are_refused_quickly(target: Target) -> None:
    for name, giant in GIANTS.items():
        for data in (giant[: target.longest], giant[: 60 * 1024], giant):
            began = time.thread_time()
            attempt(target, data, patience=1_000)
            spent = time.thread_time() - began
            assert spent < QUICK, f"{name}, {len(data)} bytes: {spent:.1f} s"


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_found_vectors_stay_mended(path: Path) -> None:
    attempt(TARGETS[path.parent.name], path.read_bytes())


def test_every_vector_is_of_a_target() -> None:
    assert FOUND
    assert {path.parent.name for path in FOUND} <= TARGETS.keys()


def test_every_wire_format_has_a_target() -> None:
    """Whatever has a version line travels; a new format without a target turns this red."""

    def below(kind: type[Wire]) -> set[type[Wire]]:
        return {each for kid in kind.__subclasses__() for each in (kid, *below(kid))}

    formats = {kind for kind in below(Wire) if "v" in kind.__struct_fields__ and kind.__module__.startswith(("gateway.", "adapters."))}
    assert formats - {Record} == set(KINDS)  # Record: what the pilot authority keeps for itself


# ---- the harness can fail --------------------------------------------------------------------------------------------------------------


def _target(run, errors=(Malformed,), **changes) -> Target:
    return Target(name="t", run=run, errors=errors, seeds=lambda: [b""], shape="bytes", **changes)


def _raising(error: Exception):
    def run(data: bytes) -> None:
        raise error

    return run


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        RecursionError(),
        UnicodeDecodeError("utf-8", b"", 0, 1, "x"),
        AssertionError("not the same bytes"),
        KeyUnusable("x"),
        LocalError("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_another_family_is_seen(error: Exception) -> None:
    with pytest.raises(Broken):
        attempt(_target(_raising(error)), b"x")


def test_an_error_of_ours_is_an_answer() -> None:
    assert attempt(_target(_raising(Malformed("x"))), b"x") == "refused"
    assert attempt(_target(lambda data: None), b"x") == "value"


def test_slowness_is_seen() -> None:
    def run(data: bytes) -> None:
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass

    with pytest.raises(Broken, match="ceiling"):
        attempt(_target(run, milliseconds=1.0), b"x")


def test_an_error_that_breaks_the_log_is_seen() -> None:
    error = Malformed("x")
    error.args = ("two\nlines",)
    with pytest.raises(Broken, match="breaks its line"):
        attempt(_target(_raising(error)), b"x")


def test_messages_of_errors_are_one_bounded_line() -> None:
    message = str(YizhanError("a\nb\x1b[2J\u202ec\udcff" + "x" * 5_000))
    assert len(message) == 1_000
    assert message.startswith("a\ufffdb\ufffd[2J\ufffdc\ufffdx")
