"""Misspelled names: each is named, with what may be meant."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mltrack.store import Store
from tests.support.command_line import Cli


def test_a_column_or_order_that_no_run_has_is_named(cli: Cli) -> None:
    said = cli("ls", "--columns", "accuracy,los,params.lr")
    assert said.code == 0
    assert "none of these runs has 'los'; did you mean loss" in said.err
    assert "accuracy" not in said.err and "params.lr" not in said.err
    assert "metrics.los'; did you mean metrics.loss" in cli("ls", "--order-by", "metrics.los DESC").err
    assert cli("ls", "--order-by", "metrics.loss DESC", "--order-by", "start_time").err == ""


def test_a_status_that_does_not_exist_is_refused(cli: Cli) -> None:
    said = cli("ls", "--filter", "metrics.loss > 0 and status = 'finishd'")
    assert said.code == 2
    assert "'finishd' is not a status" in said.err and "did you mean FINISHED?" in said.err
    assert cli("ls", "--filter", "status LIKE 'FIN%'").code == 0


def test_runs_of_several_experiments_are_listed(cli: Cli) -> None:
    both = cli("ls", "-e", "spirals", "-e", "Default")
    assert "spirals-1" in both.out
    assert cli("ls", "-e", "spirals", "-e", "spirls").code == 4


@pytest.mark.parametrize("option", ["--least", "--most"])
def test_compare_refuses_a_metric_that_no_run_has(cli: Cli, option: str) -> None:
    said = cli("compare", "spirals-1", "spirals-2", option, "los")
    assert said.code == 2
    assert "none of these runs has a metric 'los'" in said.err


def test_export_refuses_a_suffix_that_is_not_what_it_writes(cli: Cli, tmp_path: Path) -> None:
    for name in ("out.csvv", "out.xlsx", "out.txt"):
        said = cli("export", "spirals-1", "-o", str(tmp_path / name))
        assert said.code == 2 and "is not a format that can be written" in said.err
    assert cli("export", "spirals-1", "--format", "json", "-o", str(tmp_path / "out.csv")).code == 2
    assert list(tmp_path.glob("out*")) == []
    assert cli("export", "spirals-1", "-o", str(tmp_path / "2026.01")).code == 0
    assert (tmp_path / "2026.01" / "runs.parquet").is_file()


def test_what_is_shown_as_crashed_is_found_as_crashed_and_to_mlflow_as_failed(cli: Cli, small_store: Store) -> None:
    program = "import mltrack, os; mltrack.start_run(run_name='killed'); os.kill(os.getpid(), 9)"
    environment = {**os.environ, "MLTRACK_STORE": str(small_store.path)}
    assert subprocess.run([sys.executable, "-c", program], env=environment).returncode == -signal.SIGKILL
    texts = ("status = 'CRASHED'", "status = 'FAILED'", "status != 'CRASHED'")
    found = [[run["run_name"] for run in cli("ls", "--json", "--filter", text).json] for text in texts]
    assert found[0] == found[1] == ["killed"]
    assert found[2] and "killed" not in found[2]


def test_the_last_runs_are_named_by_their_age(cli: Cli, small_store: Store) -> None:
    newest = [run["run_id"] for run in cli("ls", "--json").json]
    assert small_store.run("@last").run_id == newest[0]
    assert cli("show", "@last~1", "--json").json["run_id"] == newest[1]
    said = cli("show", f"@last~{len(newest)}")
    assert said.code == 4 and f"has {len(newest)} runs" in said.err
    assert cli("show", "@last~x").code == 4


def test_experiments_are_listed_with_their_runs(cli: Cli, small_store: Store) -> None:
    small_store.workspace.get_or_create("empty")
    gone = small_store.workspace.get_or_create("gone")
    small_store.delete_experiment(gone.experiment_id)
    listed = {each["name"]: each for each in cli("experiments", "--json").json}
    runs = cli("ls", "--json", "-e", "spirals").json
    assert listed["spirals"]["runs"] == len(runs)
    assert listed["spirals"]["last_start"] == max(run["start_time"] for run in runs)
    assert (listed["empty"]["runs"], listed["empty"]["last_start"]) == (0, None)
    lines = cli("experiments").out.splitlines()
    assert lines[0].split() == ["name", "id", "runs", "last", "run"]
    assert any(line.startswith("gone (deleted)") for line in lines)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("show spirls-1", "did you mean spirals-1"),
        ("show zzz", "see: mltrack ls"),
        ("show @last~999", "no run is 999 before the last"),
        ("export --where x", "there is no option --where"),
        ("export --where x", "did you mean --filter?"),
        ("tag spirals-1 --remove x", "did you mean --delete?"),
        ("ls --limt 3", "did you mean --limit?"),
        ("ls -n abc", "'abc' is not a whole number"),
        ("ls -n 0", "0 is less than 1"),
        ("ui --port 99999", "99999 is not between 1 and 65535"),
        ("rename -x spirls other", "no experiment 'spirls'"),
        ("rename -x spirls other", "did you mean spirals?"),
        ("sql select 1", "the query is more than one word of the shell"),
        ("ls -c", "see: mltrack ls --help"),
        ("restore zzz", "see: mltrack ls --deleted"),
        ("run", "put it after --: mltrack run -- python train.py"),
        ("sync --history", "see: mltrack sync --help"),
        ("ls -e spirls", "did you mean spirals?"),
        ("artifacts list spirals-1", "there is no command artifacts list"),
        ("artifacts list spirals-1", "did you mean ls?"),
        ("artifacts spirals-1", "did you mean mltrack artifacts ls spirals-1?"),
        ("sync lba", "no remote 'lba'"),
        ("ls -f start_time>'2026-13-01'", "write a date such as '2026-01-31'"),
    ],
)
def test_what_is_misspelled_is_named_with_what_may_be_meant(line: str, words: str, cli: Cli) -> None:
    said = cli(*line.split())
    assert said.code in (2, 4)
    assert words in said.err


def test_the_last_run_of_an_empty_store_is_an_error_with_a_hint(cli: Cli) -> None:
    assert cli("init", "empty").code == 0
    said = cli("--store", "empty", "show", "@last")
    assert said.code == 4
    assert "no runs in" in said.err
    assert "record one: mltrack run -- python train.py" in said.err


def test_a_report_makes_the_folder_it_goes_to_or_names_the_file_that_was_asked_for(cli: Cli, tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "r.md"
    assert cli("report", "spirals-1", "-o", str(target)).code == 0
    assert target.is_file()
    said = cli("report", "spirals-1", "-o", str(target / "r.md"))
    assert said.code == 1
    assert f"{target / 'r.md'}: Not a directory" in said.err


def test_restoring_what_is_not_deleted_is_said(cli: Cli) -> None:
    said = cli("restore", "spirals-1")
    assert said.out.startswith("not deleted: ")
    assert cli("restore", "spirals-1", "--json").json == {"restored": []}
    assert cli("rm", "spirals-2").code == 0
    assert cli("restore", "-e", "spirals").out.startswith("not deleted: experiment ")
    assert cli("restore", "-e", "spirals", "--json").json == {"restored": [], "experiments": []}
    assert cli("show", "spirals-2", "--json").json["lifecycle_stage"] == "deleted"  # it was deleted by itself


def test_removing_a_tag_that_a_run_lacks_is_said(cli: Cli) -> None:
    cli("tag", "spirals-1", "mine=1")
    said = cli("tag", "spirals-1", "-d", "mine", "-d", "nosuch")
    assert said.out.endswith("spirals-1: removed mine, there was no nosuch\n")
