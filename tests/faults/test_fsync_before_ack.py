"""fsync_before_ack: from the stream of system calls of two real gateways, nothing is promised that is not on the disk by then.

Recorded is every write, name and sync, and in the same stream every byte on its way to a peer, before it is encrypted. Turned down to
what many databases run with, the same checker must find the broken promises: else it looks at nothing.
"""

from __future__ import annotations

import pytest

from tests.faults.disk_promises import Findings, judge
from tests.faults.disk_town import Recorded, record_run, the_run
from tests.faults.disk_trace import needs_strace
from tests.faults.torture import FACTOR

RECEIVER = {"receipts in an answer", "receipts brought", "document delivered", "blob before its transaction"}
SENDER = {"exchange sent", "receipts taken", "offer settled", "blob before its transaction"}


def verdict(recorded: Recorded) -> Findings:
    return judge(recorded.acts, recorded.plain, recorded.desk.home.path)


@pytest.mark.parametrize(("key", "promised"), [("office", SENDER), ("finance", RECEIVER)])
def test_nothing_leaves_before_it_is_synced(key: str, promised: set[str]):
    findings = verdict(the_run().gateways[key])
    print(key, dict(findings.kept))  # noqa: T201  # the long form reports it
    assert not findings.broken
    assert promised <= set(findings.kept), "each kind of promise was looked at"
    assert findings.kept["offer settled"] + findings.kept["document delivered"] >= len(the_run().sent)


@pytest.mark.parametrize("synchronous", ["OFF", "NORMAL"] if FACTOR else ["NORMAL"])
def test_a_database_that_syncs_less_is_found_out(synchronous: str, tmp_path):
    needs_strace()
    run = record_run(tmp_path, documents=3, environment={"YIZHAN_TEST_SYNCHRONOUS": synchronous})
    office, finance = verdict(run.gateways["office"]), verdict(run.gateways["finance"])
    assert any(broken.startswith("receipts in an answer") for broken in finance.broken)
    assert any(broken.startswith("receipts taken") for broken in office.broken)
    assert any(broken.startswith("offer settled") for broken in office.broken)
