"""Stores found upward from the working folder that their user may not think of."""

from __future__ import annotations

from pathlib import Path

import pytest

from mltrack.disk.found_store import SQLITE, words_on_mlflow, words_on_place
from mltrack.disk.layout import Layout
from mltrack.errors import NotFoundError


def test_a_store_here_or_a_little_above_is_near(tmp_path: Path) -> None:
    assert words_on_place(tmp_path / ".mltrack", tmp_path) is None
    assert words_on_place(tmp_path / ".mltrack", tmp_path / "src" / "model") is None


def test_a_store_three_folders_up_is_far(tmp_path: Path) -> None:
    said = words_on_place(tmp_path / ".mltrack", tmp_path / "a" / "b" / "c")
    assert said == "found 3 folders up; for a store in this folder: mltrack --store .mltrack init"


def test_a_store_in_the_home_folder_is_far_from_every_other_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert words_on_place(tmp_path / ".mltrack", tmp_path) is None
    said = words_on_place(tmp_path / ".mltrack", tmp_path / "project")
    assert said is not None
    assert said.startswith("found one folder up;")


def test_a_store_outside_the_git_repository_is_far(tmp_path: Path) -> None:
    (tmp_path / "project" / ".git").mkdir(parents=True)
    (tmp_path / "project" / "src").mkdir()
    assert words_on_place(tmp_path / ".mltrack", tmp_path / "project" / "src") is not None
    assert words_on_place(tmp_path / "project" / ".mltrack", tmp_path / "project" / "src") is None


def test_a_store_elsewhere_is_not_above(tmp_path: Path) -> None:
    assert words_on_place(tmp_path / "other" / ".mltrack", tmp_path / "a" / "b" / "c" / "d") is None


def test_runs_that_mlflow_left_next_to_a_store_are_named_with_the_command(tmp_path: Path) -> None:
    store = tmp_path / ".mltrack"
    (tmp_path / "mlruns" / "0").mkdir(parents=True)
    (tmp_path / "mlflow.db").touch()
    assert words_on_mlflow(store, tmp_path) is None, "an empty folder and an empty file hold no runs"
    (tmp_path / "mlruns" / "0" / "meta.yaml").touch()
    assert words_on_mlflow(store, tmp_path) == "the runs in mlruns can be imported: mltrack import mlruns"
    (tmp_path / "mlflow.db").write_bytes(SQLITE)  # whose files are in mlruns
    assert words_on_mlflow(store, tmp_path) == "the runs in mlflow.db can be imported: mltrack import mlflow.db"
    elsewhere = tmp_path / "a"
    elsewhere.mkdir()
    assert f"mltrack import {tmp_path}/mlflow.db" in str(words_on_mlflow(store, elsewhere))
    assert words_on_mlflow(elsewhere / ".mltrack", tmp_path) is None


def test_the_hint_for_a_missing_store_names_the_command_that_imports_mlflows_runs(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(SQLITE)
    with pytest.raises(NotFoundError) as error:
        Layout.open(tmp_path / ".mltrack")
    assert str(error.value.hint).startswith("the runs in mlflow.db can be imported: mltrack import ")
