"""An office of folders and the people who work in it, for tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from adapters.folder import FolderOffice
from gateway.core.document import Document
from gateway.flow.ports import Act


class FolderWorld:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.office = FolderOffice(root)

    def restart(self) -> FolderWorld:
        """Another process takes over."""
        return FolderWorld(self.root)

    # ---- what people do

    def put(self, source: str, fields: dict[str, Any], parts: Sequence[tuple[str, bytes]], *, ready: bool = True) -> Path:
        """Lay a folder into the outbox, as an OA does."""
        folder = self.root / "outbox" / source
        folder.mkdir()
        for name, content in parts:
            (folder / name).write_bytes(content)
        (folder / "document.json").write_text(json.dumps(fields, ensure_ascii=False), encoding="utf-8")
        if ready:
            (folder / ".ready").touch()
        return folder

    def approve(self, source: str, document: Document, parts: Sequence[tuple[str, bytes]]) -> None:
        files = [{"name": name, "role": "attachment" if index else "body"} for index, (name, _) in enumerate(parts)]
        self.put(source, msgspec.to_builtins(document) | {"files": files}, parts)

    def approve_badly(self, source: str) -> None:
        (self.root / "outbox" / source).mkdir()
        (self.root / "outbox" / source / ".ready").touch()

    def sign_for(self, exchange: str) -> None:
        (self.root / "inbox" / exchange / "SIGNED").touch()

    def send_back(self, exchange: str, reason: str) -> None:
        (self.root / "inbox" / exchange / "RETURNED").write_text(reason, encoding="utf-8")

    # ---- what people see

    def waits(self, source: str) -> bool:
        return (self.root / "outbox" / source).exists()

    def json(self, *path: str) -> Any:
        return json.loads(self.root.joinpath(*path).read_text(encoding="utf-8"))

    def refused_rules(self, source: str) -> list[str]:
        return [reason["rule"] for reason in self.json("refused", source, "reasons.json")["reasons"]]

    def states(self, direction: str, exchange: str) -> dict[str, str]:
        fields = self.json("sent" if direction == "out" else "inbox", exchange, "status.json")
        return {each["org"]: each["state"] for each in fields["recipients"]}

    def delivered(self, exchange: str) -> dict[str, bytes] | None:
        folder = self.root / "inbox" / exchange
        if not folder.exists():
            return None
        return {each["name"]: (folder / each["file"]).read_bytes() for each in self.json("inbox", exchange, "document.json")["files"]}

    def answer_refused(self, act: Act) -> bool:
        marker = {"sign-for": "SIGNED", "return": "RETURNED"}[act.kind]
        folder = self.root / "inbox" / act.exchange
        assert not (folder / marker).exists()
        return (folder / f"{marker}.refused").exists() and not (folder / f"{marker}.done").exists()

    def litter(self) -> list[str]:
        """What no person should find: temporary names anywhere."""
        return [str(path) for path in self.root.rglob("*.part")]
