"""The office of folders: the promises of every office, and what strangers may put into its folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.adapters.contract import OfficeContract
from tests.adapters.folder_world import FolderWorld


@pytest.fixture
def world(tmp_path: Path) -> FolderWorld:
    return FolderWorld(tmp_path / "office")


class TestFolderOffice(OfficeContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> FolderWorld:
        return FolderWorld(tmp_path / "office")
