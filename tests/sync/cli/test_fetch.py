"""Files that a thin copy left out are fetched from a remote that has them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mltrack.errors import NotFoundError
from mltrack.recording import current_store, fluent
from mltrack.store import Store
from mltrack_sync import Remotes
from mltrack_sync.engine.pull import pull
from tests.support.command_line import Cli


@pytest.fixture
def run_id(store: Store) -> str:
    current_store.set_store(store.path)
    with fluent.start_run(run_name="with files") as run:
        run.log_text("small", "small.txt")
        run.log_text("x" * 5000, "data/large.txt")
    current_store.set_store(None)
    return str(run.run_id)


def test_skipped_files_are_fetched_from_the_remote_that_has_them(
    store: Store, run_id: str, tmp_path: Path, cli: Cli
) -> None:
    thin = Store.create(tmp_path / "thin")
    pull(thin, Remotes(thin).add("full", str(store.path)), artifact_bytes_max=1000)
    with pytest.raises(NotFoundError, match="was not copied"):
        thin.run(run_id).artifact_path("data/large.txt")
    done = json.loads(cli("--store", str(thin.path), "fetch", "with files", "--json").out)
    assert done == {"run_id": run_id, "fetched": ["data/large.txt"], "missing": [], "problems": []}
    assert thin.run(run_id).artifact_path("data/large.txt").read_text() == "x" * 5000
    assert "no file was left out" in cli("--store", str(thin.path), "fetch", run_id).out


def test_files_that_no_remote_has_are_named_and_the_exit_code_says_so(
    store: Store, run_id: str, tmp_path: Path, cli: Cli
) -> None:
    thin = Store.create(tmp_path / "thin")
    remotes = Remotes(thin)
    pull(thin, remotes.add("full", str(store.path)), artifact_bytes_max=1000)
    remotes.remove("full")
    empty = Store.create(tmp_path / "empty")
    remotes.add("empty", str(empty.path))
    shown = cli("--store", str(thin.path), "fetch", run_id)
    assert (shown.code, "on no remote: data/large.txt" in shown.out) == (3, True)
