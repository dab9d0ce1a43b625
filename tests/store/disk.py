"""Watching and breaking what the store asks of the disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def failing_sync(descriptor: int) -> None:
    raise OSError(5, "Input/output error")


def watch(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    """Every sync and rename below a folder, in order, still carried out."""
    calls: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(descriptor: int) -> None:
        calls.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().relative_to(folder)}")
        real_sync(descriptor)

    def replace(self: Path, target: Path) -> Path:
        calls.append(f"rename {self.relative_to(folder)} {Path(target).relative_to(folder)}")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    return calls
