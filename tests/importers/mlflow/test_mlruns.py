"""MLflow's folder as it may be found: moved, torn, with files elsewhere, inside another folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mltrack.importers.compare import compare_source
from mltrack.importers.engine import import_source
from mltrack.importers.kinds import kind_of
from mltrack.storage.runs.imported import RunImport
from mltrack.store import Store
from tests.support.sources import unpack


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return unpack("mlflow-3.12.0-mlruns", tmp_path)


def first_run(source: Path) -> Path:
    return next(source.rglob("params/lr")).parent.parent


def test_the_folder_that_has_it_is_taken_too(source: Path, store: Store) -> None:
    assert kind_of(source.parent).name == "mlruns"
    assert import_source(store, source.parent).created == 5
    assert import_source(store, source).unchanged == 5


def test_a_torn_meta_costs_its_run_and_is_named(source: Path, store: Store) -> None:
    meta = first_run(source) / "meta.yaml"
    meta.write_text(meta.read_text()[:20])
    report = import_source(store, source)
    assert report.created == 4
    assert any(first_run(source).name in problem for problem in report.problems)


@pytest.mark.parametrize("text", ["", "status: 3\n  x: [", "- a\n", "\x00\x01"])
def test_a_meta_that_is_no_yaml_with_fields_is_named(source: Path, store: Store, text: str) -> None:
    (first_run(source) / "meta.yaml").write_text(text)
    report = import_source(store, source)
    assert (report.created, len(report.problems)) == (4, 1)


def test_an_experiment_whose_meta_is_torn_keeps_its_runs(source: Path, store: Store) -> None:
    (first_run(source).parent / "meta.yaml").write_text("name: [")
    report = import_source(store, source)
    assert report.created == 5
    assert len(report.problems) == 1


def test_a_status_that_no_run_has_costs_its_run(source: Path, store: Store) -> None:
    meta = first_run(source) / "meta.yaml"
    meta.write_text(meta.read_text().replace("status: 3", "status: 9"))
    report = import_source(store, source)
    assert report.created == 4
    assert any("status is 9" in problem for problem in report.problems)


def moved_artifacts(run: Path, place: Path) -> Path:
    """Move the files of a run elsewhere, and have MLflow's folder say so."""
    place.parent.mkdir(exist_ok=True)
    shutil.move(run / "artifacts", place)
    (run / "artifacts").mkdir()
    meta = run / "meta.yaml"
    lines = [line for line in meta.read_text().splitlines() if not line.startswith("artifact_uri")]
    meta.write_text("\n".join([f"artifact_uri: {place.as_uri()}", *lines, ""]))
    return place


def test_files_at_a_place_of_their_own_are_taken_from_it_where_it_is_named(
    source: Path, store: Store, tmp_path: Path
) -> None:
    place = moved_artifacts(first_run(source), tmp_path / "own place" / "of a run")
    files = len(list(place.rglob("*.*")))
    report = import_source(store, source)
    assert (report.artifacts, report.problems) == (3 - files, ())
    assert any(f"such as {str(place)!r}, which --artifacts-from FOLDER brings: 1" in words for words in report.left_out)
    named = (tmp_path / "own place",)
    report = import_source(store, source, artifacts_from=named)
    assert (report.artifacts, report.problems, report.left_out) == (files, (), ())
    assert compare_source(store, source, artifacts_from=named).same


def test_files_in_the_folder_of_a_server_next_to_it_are_taken(source: Path, store: Store) -> None:
    moved_artifacts(first_run(source), source.parent / "mlartifacts" / "of a run")
    report = import_source(store, source)
    assert (report.artifacts, report.left_out) == (3, ())


def test_files_come_with_a_source_that_is_named_from_the_working_folder(
    source: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    meta = first_run(source) / "meta.yaml"
    lines = [line for line in meta.read_text().splitlines() if not line.startswith("artifact_uri")]
    meta.write_text("\n".join(["artifact_uri: file://elsewhere/share", *lines, ""]))
    monkeypatch.chdir(source.parent)
    assert import_source(store, Path(source.name)).artifacts == 3


@pytest.mark.parametrize("path", [".", "../mlruns"])
def test_the_working_folder_has_folders_next_to_it(
    source: Path, store: Store, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    moved_artifacts(first_run(source), source.parent / "mlartifacts" / "of a run")
    monkeypatch.chdir(source)
    report = import_source(store, Path(path))
    assert (report.artifacts, report.left_out) == (3, ())


@pytest.mark.parametrize("name", ["params", "params/new", "tags/mlflow.note.content", "artifacts", "meta.yaml"])
def test_links_in_it_bring_nothing_of_this_machine(source: Path, store: Store, tmp_path: Path, name: str) -> None:
    secret = tmp_path / "home" / "secret"
    secret.parent.mkdir()
    secret.write_text("name: secret")
    link = first_run(source) / name
    if link.is_dir():
        shutil.rmtree(link)
    link.unlink(missing_ok=True)
    link.symlink_to(secret.parent if name in ("params", "artifacts") else secret)
    report = import_source(store, source)
    assert any(f"such as {str(link.resolve())!r}" in words for words in report.left_out)
    found = [store.sql(f"SELECT * FROM {table}").to_pylist() for table in ("params", "tags")]
    assert "secret" not in str(found)
    assert not [path for run in store.runs() for path in run.artifacts if path.path == "secret"]


def test_folders_next_to_it_are_not_taken_where_they_are_links(source: Path, store: Store, tmp_path: Path) -> None:
    home = tmp_path / "home"
    moved_artifacts(first_run(source), home / "of a run")
    (source.parent / "mlartifacts").symlink_to(home)
    assert "home" in " ".join(import_source(store, source).left_out)


def test_links_that_lead_out_of_the_folder_are_not_followed(source: Path, store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (first_run(source) / "artifacts" / "link").symlink_to(tmp_path / "secret")
    report = import_source(store, source)
    assert report.artifacts == 3
    assert any("link, a link that leads elsewhere" in words for words in report.left_out)


def test_a_file_that_was_changed_comes_again(source: Path, store: Store) -> None:
    import_source(store, source)
    (first_run(source) / "artifacts" / "notes.txt").write_text("written by MLFLOW\n")
    assert [each.what for each in compare_source(store, source).differences] == ["artifact notes.txt"]
    assert import_source(store, source).artifacts == 1
    assert compare_source(store, source).same


def test_what_changed_in_the_source_changes_and_what_was_edited_here_stays(source: Path, store: Store) -> None:
    from mltrack.storage.runs.edit import set_tag

    import_source(store, source)
    run = next(run for run in store.runs() if run.info.run_name == "first")
    set_tag(store.layout, run.run_id, "note", "edited here")
    (first_run(source) / "tags" / "note").write_text("edited in the source")
    (first_run(source) / "tags" / "data" / "source").write_text("other")
    import_source(store, source)
    tags = store.run(run.run_id).tags
    assert (tags["note"], tags["data/source"]) == ("edited here", "other")


def test_what_a_pull_brought_is_not_undone_by_an_older_copy(source: Path, store: Store) -> None:
    import_source(store, source)
    run = next(run for run in store.runs() if run.info.run_name == "first")
    pulled = RunImport(store.layout, run.run_id, "https://server.example", not_before=run.state.last_time)
    pulled.add(
        {"type": "tag", "key": "reviewed", "value": "yes"},
        {"type": "tag", "key": "note", "value": "newer"},
        {"type": "status", "status": "FAILED", "end_time": 1_800_000_000_000_000_000},
    )
    pulled.close()
    report = import_source(store, source)
    assert (report.runs, report.unchanged) == (0, 5)
    found = store.run(run.run_id)
    assert (found.tags["reviewed"], found.tags["note"], found.info.status) == ("yes", "newer", "FAILED")
    assert compare_source(store, source).same
