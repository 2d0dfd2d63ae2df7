"""Files that a thin copy left out are fetched from a remote that has them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mltrack.errors import NotFoundError
from mltrack.recording import current_store, fluent
from mltrack.storage.check.check import check_store
from mltrack.store import Store
from mltrack_sync import Remotes, Selection, push
from mltrack_sync.engine.pull import pull
from tests.support.command_line import Cli
from tests.support.fake_mlflow import FakeMlflow


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


@pytest.fixture
def thin(store: Store, run_id: str, tmp_path: Path) -> Store:
    """A copy of the run without its files."""
    current_store.set_store(store.path)
    with fluent.start_run(run_id=run_id) as run:
        for number in range(3):
            run.log_text(f"{number}" * 3000, f"data/more/{number}.txt")
    current_store.set_store(None)
    thin = Store.create(tmp_path / "thin")
    pull(thin, Remotes(thin).add("full", str(store.path)), artifact_bytes_max=0)
    return thin


def fetched(cli: Cli, thin: Store, *args: str) -> list[str]:
    """The files that fetch brings."""
    said = cli("--store", str(thin.path), "fetch", *args, "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)["fetched"]
    assert isinstance(found, list)
    return found


def here(thin: Store, run_id: str) -> list[str]:
    """The files that the copy has."""
    top = thin.run(run_id).folder.artifacts
    return sorted(str(path.relative_to(top)) for path in top.rglob("*.txt"))


def test_one_file_or_one_folder_is_fetched_and_the_rest_stays_away(thin: Store, run_id: str, cli: Cli) -> None:
    assert fetched(cli, thin, run_id, "data/more/1.txt") == ["data/more/1.txt"] == here(thin, run_id)
    assert fetched(cli, thin, run_id, "data/more/1.txt") == []
    assert fetched(cli, thin, run_id, "data/more/", "small.txt") == ["data/more/0.txt", "data/more/2.txt", "small.txt"]
    with pytest.raises(NotFoundError, match="was not copied") as caught:
        thin.run(run_id).artifact_path("data/large.txt")
    assert caught.value.hint == f"mltrack fetch {run_id} data/large.txt"
    assert fetched(cli, thin, run_id) == ["data/large.txt"]
    assert len(here(thin, run_id)) == 5
    assert [str(finding) for finding in check_store(thin.path).findings] == []


def test_what_was_fetched_is_not_fetched_again_by_a_thin_pull_and_the_rest_comes_with_a_whole_one(
    thin: Store, run_id: str, cli: Cli
) -> None:
    fetched(cli, thin, run_id, "data/more")
    full = Remotes(thin).get("full")
    assert pull(thin, full, artifact_bytes_max=0).artifacts == 0
    assert pull(thin, full).artifacts == 2
    assert len(here(thin, run_id)) == 5


def test_files_that_were_removed_here_are_fetched_again(thin: Store, run_id: str, cli: Cli) -> None:
    assert len(fetched(cli, thin, run_id)) == 5
    thin.run(run_id).artifact_path("data/more/1.txt").unlink()
    assert fetched(cli, thin, run_id, "data/more") == ["data/more/1.txt"]
    assert len(here(thin, run_id)) == 5


def test_a_path_that_the_run_does_not_have_is_named(thin: Store, run_id: str, cli: Cli) -> None:
    said = cli("--store", str(thin.path), "fetch", run_id, "data/mor")
    assert said.code != 0
    assert f"run {run_id} has no file or folder 'data/mor'" in said.err
    Remotes(thin).remove("full")
    said = cli("--store", str(thin.path), "fetch", run_id, "nothing")
    assert "has no file or folder 'nothing'" in said.err
    assert here(thin, run_id) == []


def test_single_files_of_a_run_come_from_a_server_too(tmp_path: Path) -> None:
    fake = FakeMlflow()
    pushed = Store.create(tmp_path / "pushed")
    current_store.set_store(pushed.path)
    with fluent.start_run() as run:
        for name in ("a/1.txt", "a/2.txt", "b.txt"):
            run.log_text(name, name)
        run_id = run.run_id
    current_store.set_store(None)
    push(pushed, Remotes(pushed).add("lab", "http://fake"), http=fake)
    thin = Store.create(tmp_path / "thin")
    lab = Remotes(thin).add("lab", "http://fake")
    pull(thin, lab, artifact_bytes_max=0, http=fake)
    assert here(thin, run_id) == []
    chosen = Selection((run_id,))
    assert pull(thin, lab, selection=chosen, artifact_paths=("a",), http=fake).artifacts == 2
    assert here(thin, run_id) == ["a/1.txt", "a/2.txt"]
    assert pull(thin, lab, selection=chosen, artifact_paths=("a",), http=fake).artifacts == 0
    assert pull(thin, lab, http=fake).artifacts == 1
    assert here(thin, run_id) == ["a/1.txt", "a/2.txt", "b.txt"]
