"""What every importer keeps: once each, also when killed; comparing finds what differs; what is torn is named."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mltrack.importers.compare import compare_source
from mltrack.importers.engine import import_source
from mltrack.importers.findings import Findings
from mltrack.importers.kinds import find_kind, kind_of
from mltrack.importers.options import ImportReport
from mltrack.storage.check.check import check_store
from mltrack.store import Store
from tests.support.import_cases import CASES, ImportCase

pytestmark = pytest.mark.parametrize("case", CASES, ids=str)


@pytest.fixture
def source(case: ImportCase, tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return case.make(folder)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


def tree_of(folder: Path) -> dict[str, tuple[int, str]]:
    """Each file below a folder, or the file itself, with its time and content."""
    paths = [folder] if folder.is_file() else sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths}


def points_of(store: Store) -> int:
    return sum(head.points for head in store.heads().values())


def test_a_source_is_recognized_as_its_own_kind(case: ImportCase, source: Path) -> None:
    assert kind_of(source).name == case.kind


def test_everything_comes_and_the_source_is_only_read(case: ImportCase, source: Path, store: Store) -> None:
    before = tree_of(source)
    report = import_source(store, source)
    assert (report.problems, report.kind, report.points) == ((), case.kind, case.points)
    assert points_of(store) == case.points
    assert check_store(store.path).sound
    assert tree_of(source) == before


@pytest.mark.slow
def test_a_second_import_adds_nothing(case: ImportCase, source: Path, store: Store) -> None:
    first = import_source(store, source)
    before = store.heads()
    second = import_source(store, source)
    assert second == replace(
        ImportReport(source=str(source), kind=case.kind, unchanged=first.runs, left_out=first.left_out),
        seconds=second.seconds,
    )
    assert store.heads() == before


def test_a_dry_run_reports_what_the_import_does_and_writes_nothing(
    case: ImportCase, source: Path, store: Store
) -> None:
    before = tree_of(store.path)
    foreseen = import_source(store, source, dry_run=True)
    assert tree_of(store.path) == before
    report = import_source(store, source)
    assert replace(foreseen, dry_run=False, seconds=report.seconds) == report


def test_comparing_finds_no_difference_and_reads_every_point(case: ImportCase, source: Path, store: Store) -> None:
    report = import_source(store, source)
    compared = compare_source(store, source)
    assert (compared.differences, compared.problems) == ((), ())
    assert (compared.points, compared.runs, compared.artifacts) == (case.points, report.runs, report.artifacts)


def test_comparing_finds_a_number_that_was_changed(case: ImportCase, source: Path, store: Store) -> None:
    import_source(store, source)
    case.plant(source)
    found = compare_source(store, source).differences
    assert len(found) == 1, found
    assert found[0].what.startswith("metric ")


def test_comparing_with_an_empty_store_finds_every_run(case: ImportCase, source: Path, store: Store) -> None:
    runs = import_source(store, source, dry_run=True).runs
    assert [each.what for each in compare_source(store, source).differences].count("run") == runs


@pytest.mark.slow
def test_of_a_source_that_went_on_only_the_new_points_come(case: ImportCase, source: Path, store: Store) -> None:
    import_source(store, source)
    case.extend(source)
    added = import_source(store, source)
    assert (added.created, added.runs, added.problems) == (0, 1, ())
    assert 0 < added.points < 10
    assert points_of(store) == case.points + added.points
    assert compare_source(store, source).same


def test_a_torn_record_is_named_and_costs_only_itself(case: ImportCase, source: Path, store: Store) -> None:
    words = case.tear(source)
    report = import_source(store, source)
    assert any(words in problem for problem in report.problems), report.problems
    assert not report.complete
    assert case.points - 10 <= report.points < case.points
    assert check_store(store.path).sound


def test_a_run_is_chosen_by_pattern_and_files_may_be_left_out(case: ImportCase, source: Path, store: Store) -> None:
    runs = list(find_kind(case.kind).open(source, Findings()).runs())
    chosen = runs[-1]
    report = import_source(store, source, runs=(chosen.source_id,), artifacts=False, into="elsewhere")
    assert (report.runs, report.artifacts, report.experiments) == (1, 0, 1)
    assert report.skipped_artifacts == sum(1 for _ in chosen.files())
    assert [run.info.experiment_name for run in store.runs()] == ["elsewhere"]
    assert import_source(store, source, experiments=("no such experiment",)).runs == 0


def killed_imports(source: Path, store: Store, kills: int, seed: int) -> int:
    """Imports in processes that are killed after random times; how many were killed before they had ended."""
    chance, killed = random.Random(seed), 0
    program = (
        "import sys; from mltrack.importers.engine import import_source; from mltrack.store import Store;"
        "store = Store.open(sys.argv[1]); print(flush=True); import_source(store, sys.argv[2])"
    )
    for _ in range(kills):
        with subprocess.Popen(
            [sys.executable, "-c", program, str(store.path), str(source)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(chance.uniform(0, 0.25))
            process.send_signal(signal.SIGKILL)
        killed += process.returncode == -signal.SIGKILL
    return killed


@pytest.mark.slow
def test_killed_at_any_moment_an_import_is_resumed_and_nothing_comes_twice(
    case: ImportCase, source: Path, store: Store
) -> None:
    kills = 12
    assert killed_imports(source, store, kills, seed=7)
    import_source(store, source)
    assert points_of(store) == case.points
    assert compare_source(store, source).same
    assert check_store(store.path).sound
    assert import_source(store, source).runs == 0
