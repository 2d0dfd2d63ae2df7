"""init, rm, restore and seal."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from mltrack.cli import main
from mltrack.recording import current_store, fluent
from mltrack.store import Store
from tests.support.command_line import Cli


def names(cli: Cli, *args: str) -> list[str]:
    return sorted(run["run_name"] for run in cli("ls", "--json", *args).json)


def test_init_creates_a_store_and_leaves_an_existing_one(cli: Cli, tmp_path: Path) -> None:
    said = cli("init", str(tmp_path / "new"), "--json").json
    assert said["made"] is True
    again = cli("init", str(tmp_path / "new"), "--json").json
    assert again == {**said, "made": False}
    assert cli("init", "/proc/nowhere").code == 5


def test_init_without_a_path_creates_one_in_the_working_folder(
    tmp_path: Path, monkeypatch: object, small_store: Store
) -> None:
    here = tmp_path / "project"
    here.mkdir()
    monkeypatch.chdir(here)  # type: ignore[attr-defined]
    assert main(["init"]) == 0
    assert (here / ".mltrack" / "store.json").is_file()


def test_rm_marks_as_deleted_and_restore_undoes_it(cli: Cli) -> None:
    assert cli("rm", "spirals-1", "spirals-2").code == 0
    assert names(cli) == ["spirals-3"]
    assert names(cli, "--deleted") == ["spirals-1", "spirals-2"]
    assert cli("restore", "spirals-1").code == 0
    assert names(cli) == ["spirals-1", "spirals-3"]


def test_rm_with_one_wrong_name_changes_nothing(cli: Cli) -> None:
    assert cli("rm", "spirals-1", "nosuch").code == 4
    assert len(names(cli)) == 3


def test_rm_purge_removes_the_folder_permanently(cli: Cli, small_store: Store) -> None:
    run = small_store.run("spirals-1")
    assert cli("rm", "--purge", "--yes", "spirals-1").code == 0
    assert not run.folder.path.exists()
    assert names(cli) == ["spirals-2", "spirals-3"]
    assert names(cli, "--deleted") == []
    assert cli("check").code == 0


def test_rm_purge_removes_nothing_without_confirmation(cli: Cli, small_store: Store, monkeypatch: object) -> None:
    import io

    for answer in ("n\n", ""):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))  # type: ignore[attr-defined]
        said = cli("rm", "--purge", "spirals-1")
        assert (said.code, "error: nothing was removed\n" in said.err) == (2, True)
    assert len(names(cli)) == 3


def test_rm_purge_refuses_a_live_run(cli: Cli, small_store: Store) -> None:
    current_store.set_store(small_store.path)
    run = fluent.start_run(run_name="live")
    said = cli("rm", "--purge", "--yes", "live")
    assert said.code == 1
    assert "is being recorded" in said.err
    run.log_metric("loss", 1.0)
    run.end()
    assert "live" in names(cli)


def test_seal_turns_the_journals_of_a_crashed_process_into_a_segment(cli: Cli, small_store: Store) -> None:
    code = f"""
        import os
        from mltrack.recording import current_store
        from mltrack.recording import fluent
        current_store.set_store({str(small_store.path)!r})
        run = fluent.start_run(run_name="dead")
        for step in range(5000):
            run.log_metric("loss", 1 / (step + 1), step)
        os._exit(1)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], timeout=60)
    run = small_store.run("dead")
    assert cli("seal", "--json").json == {run.run_id: 5000}
    assert [path.suffix for path in run.folder.segments.iterdir()] == [".parquet"]
    assert not list(run.folder.points.iterdir())
    assert cli("seal", "--json").json == {}
    assert cli("show", "dead", "--json").json["metrics"]["loss"]["count"] == 5000


@pytest.mark.slow
def test_ls_says_when_an_experiment_is_deleted_and_restore_brings_back_its_runs(cli: Cli, small_store: Store) -> None:
    gone = small_store.run("spirals-1").info.experiment_id
    small_store.delete_experiment(gone)
    for args in ((), ("-e", "spirals")):
        said = cli("ls", *args)
        assert "spirals-1" not in said.out
        assert "experiment 'spirals' is deleted" in said.err
        assert "mltrack restore --experiment spirals" in said.err
    assert "is deleted" not in cli("ls", "--deleted").err
    assert names(cli, "--deleted") == ["spirals-1", "spirals-2", "spirals-3"]
    assert cli("restore", "-e", "spirals", "--json").json == {"restored": [], "experiments": [gone]}
    assert names(cli) == ["spirals-1", "spirals-2", "spirals-3"]
    assert "is deleted" not in cli("ls").err
    assert cli("restore", "--experiment", "nosuch").code == 4
    assert cli("restore").code == 2
