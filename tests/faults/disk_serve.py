"""A gateway that also writes down, in the clear, what it is about to say to its peers: ``python -m tests.faults.disk_serve HOME PLAIN``.

Nothing of the gateway is changed but the last step before encryption: each run of bytes handed to TLS is first written to the file
PLAIN, so that a record of system calls shows in one order what was promised and what was on the disk by then.
``YIZHAN_TEST_SYNCHRONOUS`` sets another durability of the database, to show that the checkers see it.
"""

from __future__ import annotations

import itertools
import os
import ssl
import sys
from typing import Any

from sqlalchemy import event

from gateway.cli.main import main
from gateway.store import schema

_numbers = itertools.count(1)


def confess(descriptor: int) -> None:
    """Each write to TLS: connection number, length, then the bytes, in one system call."""
    write = ssl.SSLObject.write

    def spoken(self: Any, data: Any) -> int:
        if not hasattr(self, "number"):
            self.number = next(_numbers)
        os.write(descriptor, b"%d %d\n" % (self.number, len(data)) + bytes(data))
        return write(self, data)

    ssl.SSLObject.write = spoken  # type: ignore[method-assign]


def weaken(synchronous: str) -> None:
    connect = schema.connect

    def weak(path: Any, **facts: Any) -> Any:
        engine = connect(path, **facts)
        event.listen(engine, "connect", lambda connection, _: connection.execute(f"PRAGMA synchronous={synchronous}"))
        return engine

    schema.connect = weak


if __name__ == "__main__":
    confess(os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    if os.environ.get("YIZHAN_TEST_SYNCHRONOUS"):
        weaken(os.environ["YIZHAN_TEST_SYNCHRONOUS"])
    sys.exit(main(["serve", "--home", sys.argv[1]]))
