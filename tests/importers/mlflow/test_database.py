"""MLflow's database as it may be found: in use, with changes that are not merged, moved, damaged."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mltrack.errors import UsageError
from mltrack.importers.compare import compare_source
from mltrack.importers.engine import import_source
from mltrack.importers.kinds import kind_of
from mltrack.importers.mlflow.importer import DatabaseImporter
from mltrack.store import Store
from tests.support.import_cases import changed_rows
from tests.support.sources import unpack


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return unpack("mlflow-3.17.2-sqlite", folder)


@contextlib.contextmanager
def untouched(folder: Path) -> Iterator[None]:
    """Checks that nothing in a folder is changed, made or removed in the meantime."""

    def state() -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}

    before = state()
    yield
    assert state() == before


def test_changes_in_a_wal_are_read_and_nothing_is_written(source: Path, store: Store) -> None:
    with contextlib.closing(sqlite3.connect(source)) as con:
        con.execute("PRAGMA journal_mode = wal")
        con.execute("PRAGMA wal_autocheckpoint = 0")
        con.execute("INSERT INTO metrics SELECT key, 0.0125, timestamp, run_uuid, 40, 0 FROM metrics WHERE step = 39")
        con.commit()
        assert source.with_name("mlflow.db-wal").stat().st_size > 0
        with untouched(source.parent):
            report = import_source(store, source)
            assert (report.points, report.problems) == (54, ())
            assert compare_source(store, source).same


def test_a_database_in_wal_mode_that_is_at_rest_is_read_where_nothing_can_be_written(
    source: Path, store: Store
) -> None:
    changed_rows(source, "PRAGMA journal_mode = wal")
    assert not source.with_name("mlflow.db-wal").exists()
    with untouched(source.parent):
        assert import_source(store, source).points == 53


def test_a_transaction_that_was_killed_is_not_read(source: Path, store: Store, tmp_path: Path) -> None:
    program = (
        "import os, signal, sqlite3, sys\n"
        "con = sqlite3.connect(sys.argv[1])\n"
        "con.execute('PRAGMA cache_size = 1')\n"
        "con.execute('UPDATE metrics SET value = 99')\n"
        "con.execute('CREATE TABLE filler AS SELECT randomblob(100000) AS x FROM metrics')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(source)], check=False)
    assert source.with_name("mlflow.db-journal").stat().st_size > 0
    with untouched(source.parent):
        assert import_source(store, source).points == 53
    values = store.sql("SELECT count(*) AS n FROM metrics WHERE value = 99").to_pylist()
    assert values == [{"n": 0}]


def test_a_server_that_writes_meanwhile_is_not_disturbed(source: Path, store: Store) -> None:
    with contextlib.closing(sqlite3.connect(source, timeout=0)) as con:
        import_source(store, source)
        con.execute("UPDATE metrics SET value = 0.5 WHERE step = 39")
        con.commit()
    assert len(compare_source(store, source).differences) == 1


def test_files_are_found_next_to_the_database_that_a_server_keeps(source: Path, store: Store) -> None:
    shutil.move(source.parent / "artifacts" / "digits", source.parent / "mlartifacts")
    noted = "file:///tmp/golden/artifacts/digits"
    changed_rows(source, f"UPDATE runs SET artifact_uri = replace(artifact_uri, '{noted}', 'mlflow-artifacts:')")
    assert import_source(store, source).artifacts == 2


def test_files_of_a_server_are_found_in_a_folder_that_is_named(source: Path, store: Store, tmp_path: Path) -> None:
    shutil.move(source.parent / "artifacts" / "digits", tmp_path / "of the server")
    noted = "file:///tmp/golden/artifacts/digits"
    changed_rows(source, f"UPDATE runs SET artifact_uri = replace(artifact_uri, '{noted}', 'mlflow-artifacts:')")
    assert import_source(store, source).artifacts == 0
    assert import_source(store, source, artifacts_from=(tmp_path / "of the server",)).artifacts == 3


def test_files_on_other_machines_are_listed_without_secrets(source: Path, store: Store) -> None:
    changed_rows(source, "UPDATE runs SET artifact_uri = 's3://user:secret@bucket/x/' || run_uuid")
    report = import_source(store, source)
    assert len(report.left_out) == 5
    assert all("they are at s3://bucket, not on this machine" in words for words in report.left_out)


def test_a_damaged_page_costs_what_is_behind_it_and_is_named(source: Path, store: Store) -> None:
    with contextlib.closing(sqlite3.connect(source)) as con:
        page_size = con.execute("PRAGMA page_size").fetchone()[0]
        page = con.execute("SELECT rootpage FROM sqlite_master WHERE name = 'metrics'").fetchone()[0]
    fd = os.open(source, os.O_WRONLY)
    os.pwrite(fd, b"\xff" * page_size, (page - 1) * page_size)
    os.close(fd)
    report = import_source(store, source)
    assert (report.created, report.points) == (5, 0)
    assert any("can't be read further" in problem for problem in report.problems)


def test_other_databases_and_files_are_not_recognized(tmp_path: Path, store: Store) -> None:
    other = tmp_path / "other.db"
    changed_rows(other, "CREATE TABLE runs (id)")
    text = tmp_path / "text.db"
    text.write_text("SQLite format 3, not")
    for path in (other, text, tmp_path):
        assert not DatabaseImporter().recognizes(path)
    with pytest.raises(UsageError, match="no tables of MLflow's"):
        import_source(store, other, "mlflow-db")
    with pytest.raises(UsageError, match="can't be read"):
        import_source(store, text, "mlflow-db")


def test_a_database_is_recognized_by_its_content_whatever_its_name(source: Path) -> None:
    renamed = source.rename(source.with_name("tracking"))
    assert kind_of(renamed).name == "mlflow-db"


def test_a_folder_with_a_database_is_that_database(source: Path, store: Store) -> None:
    assert kind_of(source.parent).name == "mlflow-db"
    first = import_source(store, source)
    again = import_source(store, source.parent)
    assert first.created == 5
    assert (again.created, again.points, again.problems) == (0, 0, ())
