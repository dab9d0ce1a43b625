"""One town for each suite, shared by the tests that leave it as they found it: starting four processes costs seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crypto.suites import SuiteId
from tests.system.town import Town


@pytest.fixture(scope="module", params=["gm-1", "intl-1"])
def town(request, tmp_path_factory) -> Iterator[Town]:
    """A running town of that suite; at the end everything stops well and every log and disk proves itself."""
    suite: SuiteId = request.param
    with Town(tmp_path_factory.mktemp(suite), suite) as town:
        yield town
        for key in ("office", "finance"):
            assert town.end(key) == 0
        for desk in (town.office, town.finance):
            assert desk.prove() > 0
