"""The folder office as the command line sees it: where a document is put to be sent, and where a delivered one lies.

Written as the description of the folder office says (outbox/<name>/ … .ready, inbox/<exchange id>/), without the adapter's code: this is
what any other program of the agency would do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crypto.randomness import random_bytes
from gateway.core.errors import BadInput
from gateway.core.explain import explain
from gateway.core.keys import ID_LENGTH
from gateway.files import make_folder, sync_folder
from gateway.home import Home
from gateway.reading import ambiguous

CHUNK = 1024 * 1024


def office_folder(home: Home) -> Path:
    """Where the folder office lies. Raises BadInput when the office is another kind."""
    if home.config.office.kind != "folder":
        raise BadInput("the office is no folder", reasons=(explain("cli/no-office-folder"),))
    return home.office


def put_into_outbox(home: Home, name: str, document: Mapping[str, Any], files: Sequence[Path]) -> Path:
    """Lay a document out and then mark it ready: a gateway never sees half of it. Raises BadInput when a file cannot be read."""
    outbox = make_folder(office_folder(home) / "outbox")
    folder = outbox / f"{name}-{random_bytes(3).hex()}"
    growing = outbox / f".{folder.name}.part"
    growing.mkdir()
    for file in files:
        _copy(file, growing / file.name)
    (growing / "document.json").write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    growing.replace(folder)
    (folder / ".ready").touch()
    sync_folder(folder)
    sync_folder(outbox)
    return folder


def _copy(source: Path, target: Path) -> None:
    try:
        with source.open("rb") as reading, target.open("xb") as writing:
            while chunk := reading.read(CHUNK):
                writing.write(chunk)
    except OSError as problem:
        reason = explain("cli/no-such-file", file=source, problem=problem.strerror or problem, at=str(source))
        raise BadInput(f"{source}: {problem}", reasons=(reason,)) from problem


def inbox_folder(home: Home, exchange: str) -> Path:
    """The folder of a delivered document, by its exchange id (its sender's code behind it where two senders used one id) or a beginning.

    Raises BadInput.
    """
    inbox = office_folder(home) / "inbox"
    names = sorted(place.name for place in inbox.glob("*") if place.is_dir() and not place.name.startswith(".")) if inbox.is_dir() else []
    alike = [name for name in names if exchange and name.startswith(exchange[:ID_LENGTH])]
    found = {whole: name for name in alike if (whole := _whole_name(inbox / name)).startswith(exchange)}
    if not found:
        raise BadInput(f"{exchange} is not in the inbox", reasons=(explain("cli/not-in-inbox", exchange=exchange),))
    if len(found) > 1:
        raise ambiguous(exchange, found)
    return inbox / next(iter(found.values()))


def _whole_name(folder: Path) -> str:
    """Exchange id and sender, whether the folder needed the second or not."""
    if len(folder.name) > ID_LENGTH:
        return folder.name
    sender = read_json(folder / "document.json").get("sender")
    return f"{folder.name}-{sender.get('org')}" if isinstance(sender, dict) else folder.name


def read_json(file: Path) -> dict[str, Any]:
    """What the gateway wrote into an office folder; empty before it did."""
    try:
        value = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
