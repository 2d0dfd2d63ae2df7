"""import, and verify --against."""

from __future__ import annotations

from pathlib import Path

import pytest

from mltrack.cli import main
from mltrack.store import Store
from tests.support.command_line import Cli
from tests.support.import_cases import LIGHTNING, MLRUNS


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return MLRUNS.make(folder)


def test_import_says_what_came_and_then_that_nothing_is_new(cli: Cli, source: Path) -> None:
    said = cli("import", str(source))
    assert said.code == 0
    assert f"Came from {source} (mlruns) into " in said.out
    assert "5 (5 new)" in said.out
    again = cli("import", str(source))
    assert again.out == f"{source} (mlruns): nothing new in 5 runs\n"
    same = cli("verify", "--against", str(source))
    assert same.code == 0
    assert "53 points" in same.out
    assert "0 differences" in same.out


def test_json_has_every_count_and_whether_it_is_complete(cli: Cli, source: Path) -> None:
    found = cli("import", str(source), "--json", "--no-artifacts").json
    counts = {name: found[name] for name in ("runs", "created", "points", "artifacts", "skipped_artifacts", "traces")}
    assert counts == {
        "runs": 5,
        "created": 5,
        "points": 53,
        "artifacts": 0,
        "skipped_artifacts": 3,
        "traces": 1,
    }
    assert found["complete"] is True
    compared = cli("verify", "--against", str(source), "--json").json
    assert sorted(each["what"] for each in compared["differences"]) == [
        "artifact MLmodel",
        "artifact model/data/weights.bin",
        "artifact notes.txt",
    ]
    assert cli("verify", "--against", str(source), "--no-artifacts").code == 0


def test_what_could_not_be_read_is_listed_and_makes_the_code_3(cli: Cli, source: Path) -> None:
    words = MLRUNS.tear(source)
    said = cli("import", str(source))
    assert said.code == 3
    assert f"not imported: {words}" in said.out
    assert cli("verify", "--against", str(source)).code == 1


def test_a_difference_is_printed_and_makes_the_code_1(cli: Cli, source: Path) -> None:
    cli("import", str(source))
    MLRUNS.plant(source)
    said = cli("verify", "--against", str(source))
    assert said.code == 1
    assert "metric loss\tstep 3: 0.25 at 1700000003000000000 ns" in said.out


def test_a_dry_run_needs_no_store_and_makes_none(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert main(["import", str(source), "--dry-run"]) == 0
    assert "Would come from" in capsys.readouterr().out
    assert list(here.iterdir()) == []
    assert main(["import", str(source)]) == 0
    assert [path.name for path in here.iterdir()] == [".mltrack"]


def test_what_is_wrong_with_a_source_is_said_with_its_code(cli: Cli, tmp_path: Path) -> None:
    assert cli("import", str(tmp_path / "missing")).code == 4
    (tmp_path / "x").write_bytes(b"?")
    said = cli("import", str(tmp_path / "x"))
    assert said.code == 2
    assert "--from" in said.err
    assert cli("import", str(tmp_path / "x"), "--from", "nonsense").code == 2


@pytest.mark.parametrize(
    "args",
    [("--against", "x", "lab"), ("--against", "x", "--quick"), ("--from", "mlruns"), ("--no-artifacts",)],
)
def test_verify_takes_what_goes_with_a_source_or_with_a_remote(cli: Cli, args: tuple[str, ...]) -> None:
    assert cli("verify", *args).code == 2


def test_runs_can_be_chosen_and_put_into_one_experiment(cli: Cli, small_store: Store, tmp_path: Path) -> None:
    source = LIGHTNING.make(tmp_path)
    assert cli("import", str(source), "--run", "version_[01]", "--into", "all").code == 0
    names = {run.info.run_name: run.info.experiment_name for run in small_store.runs()}
    assert {name for name, experiment in names.items() if experiment == "all"} == {"version_0", "version_1"}


@pytest.mark.parametrize("name", ["out", "points.csv", "points.parquet", "points.jsonl"])
def test_what_an_export_wrote_is_not_taken_for_runs_of_another_tracker(cli: Cli, tmp_path: Path, name: str) -> None:
    assert cli("export", "--all", "-o", str(tmp_path / name)).code == 0
    said = cli("import", str(tmp_path / name))
    assert said.code == 2
    assert "it was written by mltrack export" in said.err
    assert "mltrack pull" in said.err


def test_a_store_is_brought_by_a_pull_and_not_by_an_import(cli: Cli, small_store: Store, tmp_path: Path) -> None:
    said = cli("import", str(small_store.path))
    assert f"mltrack pull {small_store.path}" in said.err
    (tmp_path / "around").mkdir()
    small_store.path.rename(tmp_path / "around" / ".mltrack")
    assert (
        "it has a store of mltrack's own" in cli("--store", str(tmp_path / "x"), "import", str(tmp_path / "around")).err
    )
