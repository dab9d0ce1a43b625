"""Load for the folder office: documents prepared beside the outbox, moved in while earlier ones arrive, counted in the inbox at the end.

All of it is the load generator's own process and never counted as the gateways' cost.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from gateway.cli.bench_office import HEAD
from gateway.home import Home

BODY: Final = "正文.pdf"


class FolderLoad:
    """So many documents for one outbox, of which the gateway sees what was released."""

    def __init__(self, sender: Home, receiver: Home, *, to: str, documents: int, size: int) -> None:
        self._outbox = sender.office / "outbox"
        self._inbox = receiver.office / "inbox"
        self._size = size
        self._before = self._delivered()
        staging = sender.path / "staging"
        staging.mkdir(exist_ok=True)
        self._prepared = [self._prepare(staging / f"{os.urandom(6).hex()}", number, to) for number in range(documents)]
        self._titles = {f"性能测试 {number}" for number in range(documents)}

    def release(self, count: int) -> None:
        """The gateway may see so many more."""
        for folder in self._prepared[:count]:
            folder.rename(self._outbox / folder.name)
        del self._prepared[:count]

    def complaint(self) -> str:
        """What is wrong with what arrived; empty when each document is there exactly once and whole."""
        arrived = self._delivered() - self._before
        titles = [json.loads((self._inbox / name / "document.json").read_bytes())["document"]["title"] for name in arrived]
        sizes = {(self._inbox / name / BODY).stat().st_size for name in arrived}
        if len(titles) != len(self._titles) or set(titles) != self._titles or sizes != {self._size}:
            return f"{len(self._titles)} documents of {self._size} bytes were sent; the inbox has {len(titles)}, sizes {sorted(sizes)}"
        return ""

    def _delivered(self) -> set[str]:
        return {place.name for place in self._inbox.iterdir() if not place.name.startswith(".")}

    def _prepare(self, folder: Path, number: int, to: str) -> Path:
        folder.mkdir()
        document = {"title": f"性能测试 {number}", "level": "internal", "to": [to], "files": [{"name": BODY}]}
        (folder / BODY).write_bytes(HEAD + os.urandom(self._size - len(HEAD)))
        (folder / "document.json").write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
        (folder / ".ready").touch()
        return folder
