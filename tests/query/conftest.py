"""Fixtures of the query tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from mltrack.disk.layout import Layout
from mltrack.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(Layout.open_or_create(tmp_path / "store", now_ns=1_700_000_000_000_000_000))
