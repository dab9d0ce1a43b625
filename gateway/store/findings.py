"""What an independent reader found: shared by ``audit verify`` and ``fsck``, and by nothing that writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be.

    ``error``: something was lost or changed. ``warning``: a person should look. ``note``: explained by an interrupted run; harmless.
    ``where`` names table and key, or file.
    """

    severity: Severity
    where: str
    what: str


@contextmanager
def reading(database: Path) -> Iterator[sqlite3.Connection]:
    """One read-only transaction on the database, through nothing but the driver. Raises sqlite3.Error, FileNotFoundError."""
    if not database.exists():
        raise FileNotFoundError(f"there is no database {database}")
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, isolation_level=None, timeout=30)) as connection:
        connection.text_factory = lambda data: data.decode("utf-8", "replace")  # a damaged page may hold anything
        connection.execute("PRAGMA query_only=ON")
        connection.execute("BEGIN")  # a gateway that is running meanwhile does not disturb what is read
        yield connection
