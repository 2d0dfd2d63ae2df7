"""The command pull: what it asks of a kind, what it prints, and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

import mltrack
from mltrack.errors import UsageError
from mltrack.store import Store
from mltrack_sync.cli.common import artifact_bytes_max
from mltrack_sync.remotes.sizes import parse_size
from tests.support.command_line import run


def test_both_limits_on_artifacts_at_once_are_refused() -> None:
    with pytest.raises(UsageError, match="can't be used together"):
        artifact_bytes_max(True, "10M")
    assert artifact_bytes_max(True, None) == 0
    assert artifact_bytes_max(False, None) is None
    assert artifact_bytes_max(False, "1.5k") == 1500


@pytest.mark.parametrize(("text", "size"), [("0", 0), ("10M", 10_000_000), ("2 GB", 2_000_000_000), ("7 kiB", 7000)])
def test_a_size_is_read_with_its_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "10 apples", "1e3"])
def test_what_is_not_a_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size"):
        parse_size(text)


def test_a_pull_without_a_remote_says_how_to_add_one(tmp_path: Path) -> None:
    mltrack.set_store(tmp_path / "store")
    mltrack.set_experiment("any")
    mltrack.set_store(None)
    with pytest.raises(UsageError, match="no remote yet"):
        run(Store.open(tmp_path / "store"), "pull")
