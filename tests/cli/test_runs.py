"""ls and show."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from dataclasses import asdict

import pytest

from mltrack.entities import Dataset
from mltrack.journal.recorder import Recorder
from mltrack.recording import current_store, fluent
from mltrack.store import Store
from mltrack.text.frames import repeat
from mltrack.values.datasets import model_input_event, model_output_event
from tests.support.command_line import Cli
from tests.support.terminal import in_terminal


def test_ls_prints_whole_ids_and_names_in_a_pipe_newest_first(cli: Cli, small_store: Store) -> None:
    lines = cli("ls").out.splitlines()
    assert lines[0].split()[:4] == ["id", "name", "experiment", "status"]
    assert [line.split()[1] for line in lines[1:]] == ["spirals-3", "spirals-2", "spirals-1"]
    assert {line.split()[0] for line in lines[1:]} == set(small_store.run_ids())
    assert all(line == line.rstrip() and "\x1b" not in line for line in lines)


def test_ls_names_are_never_cut_in_a_pipe(cli: Cli, small_store: Store) -> None:
    name = "a-very-" * 400 + "long-name"
    current_store.set_store(small_store.path)
    fluent.start_run(run_name=name).end()
    lines = cli("ls").out.splitlines()
    assert name in lines[1]
    assert max(map(len, [lines[0], *lines[2:]])) < 400  # it does not fill the others with spaces


def test_ls_json_has_run_data_metrics_params_and_tags(cli: Cli, small_store: Store) -> None:
    runs = cli("ls", "--json").json
    newest = runs[0]
    assert newest["run_name"] == "spirals-3"
    assert newest["points"] == 21
    assert newest["metrics"] == {"loss": 1 / 22, "accuracy": 0.75}
    assert newest["params"] == {"lr": "0.2", "layers": "3"}
    assert newest["tags"]["team"] == "red"


@pytest.mark.parametrize(
    ("args", "names"),
    [
        (["--filter", "params.lr = '0.2'"], ["spirals-3"]),
        (["--filter", "metrics.accuracy < 0.6", "--order-by", "metrics.accuracy"], ["spirals-1", "spirals-2"]),
        (["--limit", "1"], ["spirals-3"]),
        (["--experiment", "Default"], []),
        (["--deleted"], []),
    ],
)
def test_ls_selects_and_orders(args: list[str], names: list[str], cli: Cli) -> None:
    assert [run["run_name"] for run in cli("ls", "--json", *args).json] == names


def test_ls_says_when_there_are_more_and_when_there_are_none(cli: Cli) -> None:
    assert "there are more" in cli("ls", "--limit", "2").err
    assert "no runs that match" in cli("ls", "--filter", "metrics.loss > 9").err


def test_ls_says_when_no_run_has_what_it_groups_by(cli: Cli) -> None:
    assert "none of these runs has 'lrr'; did you mean lr?" in cli("ls", "--group-by", "lrr").err
    assert "did you mean params.lr" in cli("ls", "--group-by", "params.lrr,status").err
    assert "none of" not in cli("ls", "--group-by", "lr").err


def test_ls_shows_the_requested_columns(cli: Cli) -> None:
    lines = cli("ls", "--columns", "accuracy,params.lr,tags.team,layers").out.splitlines()
    assert lines[0].split()[-4:] == ["accuracy", "params.lr", "tags.team", "layers"]
    assert lines[1].split()[-4:] == ["0.75", "0.2", "red", "3"]


def test_ls_shows_system_metrics_only_on_request(cli: Cli, small_store: Store) -> None:
    current_store.set_store(small_store.path)
    with fluent.start_run(run_id="spirals-3") as run:
        run.log_metric("system/cpu_utilization_percentage", 99.0)
    assert "system/" not in cli("ls").out
    assert " 99\n" in cli("ls", "--columns", "system/cpu_utilization_percentage").out


def test_ls_shows_a_run_whose_process_died_as_crashed_and_a_live_one_as_running(cli: Cli, small_store: Store) -> None:
    code = f"""
        import os
        from mltrack.recording import current_store
        from mltrack.recording import fluent
        current_store.set_store({str(small_store.path)!r})
        fluent.start_run(run_name="dead").log_metric("loss", 1.0)
        os._exit(1)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], timeout=60)
    current_store.set_store(small_store.path)
    live = fluent.start_run(run_name="live")
    lines = {line.split()[1]: line.split()[3] for line in cli("ls").out.splitlines()}
    live.end()
    assert (lines["dead"], lines["live"]) == ("CRASHED", "RUNNING")


def test_ls_in_a_terminal_has_short_ids_and_children_below_their_parent(small_store: Store) -> None:
    current_store.set_store(small_store.path)
    with fluent.start_run(run_name="parent"):
        for name in ("first", "second"):
            with fluent.start_run(run_name=name, nested=True):
                pass
    shown = in_terminal(small_store.path, "ls", width=100)
    names = [
        line.split("  ")[1].strip()
        for line in shown.splitlines()
        if line.startswith(tuple(i[:8] for i in small_store.run_ids()))
    ]
    assert names[0] == "parent"
    assert sorted(names[1:3]) == ["└ first", "└ second"]  # in the order of their ids where they began in one ms


@pytest.mark.slow
def test_no_line_is_wider_than_the_terminal(small_store: Store) -> None:
    current_store.set_store(small_store.path)
    fluent.start_run(run_name="long-" * 40).end()
    for args in (["ls"], ["metrics", "spirals-1"], ["metrics", "spirals-1", "loss"], ["show", "spirals-1"]):
        assert max(map(len, in_terminal(small_store.path, *args, width=90).splitlines())) <= 90


def test_show_prints_everything_about_a_run(cli: Cli) -> None:
    said = cli("show", "spirals-1")
    assert said.code == 0
    for part in ("FINISHED", "layers", "team", "notes/hello.txt", "accuracy", "create"):
        assert part in said.out


def test_show_lists_the_datasets_and_the_models_of_a_run(cli: Cli, small_store: Store) -> None:
    current_store.set_store(small_store.path)
    dataset = Dataset("digits", "0af1", "http", '{"url": "https://x/y"}', profile="{}")
    with fluent.start_run(run_name="with inputs") as run:
        run.log_input(dataset, "training", {"fold": 2})
    edit = Recorder(small_store.layout, small_store.layout.run(run.run_id), "edit")
    edit.start([model_input_event("m-1"), model_output_event("m-2", 7)])
    edit.close()
    lines = [line.split() for line in cli("show", run.run_id).out.splitlines()]
    assert ["digits", "0af1", "training", "http"] in lines
    assert ["m-1", "used"] in lines and ["m-2", "made", "7"] in lines
    shown = cli("show", run.run_id, "--json").json
    assert shown["datasets"] == [
        {**asdict(dataset), "context": "training", "tags": {"fold": "2", "mlflow.data.context": "training"}}
    ]
    assert (shown["model_inputs"], shown["model_outputs"]) == (["m-1"], [{"model_id": "m-2", "step": 7}])


def test_show_json_has_summaries_artifacts_and_writers(cli: Cli, small_store: Store) -> None:
    run = cli("show", "spirals-1", "--json").json
    assert run["metrics"]["loss"]["count"] == 20
    assert run["metrics"]["loss"]["max"] == 1.0
    assert run["artifacts"][0]["path"] == "notes/hello.txt"
    assert run["artifacts"][0]["size"] == 5
    assert run["writers"][0]["position"]["points"] == 21


def test_show_takes_an_id_and_its_first_digits(cli: Cli, small_store: Store) -> None:
    run_id = small_store.run("spirals-2").run_id
    assert cli("show", run_id, "--json").json["run_name"] == "spirals-2"
    assert cli("show", run_id[:12], "--json").json["run_name"] == "spirals-2"


def test_text_that_would_break_a_line_or_control_the_terminal_is_escaped(cli: Cli, small_store: Store) -> None:
    current_store.set_store(small_store.path)
    run = fluent.start_run(run_name="odd\nname")
    run.set_tag("evil", "\x1b[31mred\x07 [bold]x[/bold]")
    run.end()
    assert "odd\\nname" in cli("ls").out
    assert "\x1b[31m" not in cli("show", run.run_id).out
    assert "[bold]x[/bold]" in in_terminal(small_store.path, "show", run.run_id)


@pytest.mark.slow
def test_values_are_rounded_in_lists_and_exact_in_json_and_of_one_run(cli: Cli, small_store: Store) -> None:
    current_store.set_store(small_store.path)
    with fluent.start_run(run_name="fine") as run:
        run.log_metric("rate", 8.228650119817602e-05)
    shown = in_terminal(small_store.path, "ls", "--columns", "rate")
    assert "8.229e-05" in shown and "8.22865" not in shown
    line = cli("ls", "--columns", "rate").out
    assert "8.22865e-05" in line and "8.228650" not in line
    assert "8.228650119817602e-05" in cli("metrics", run.run_id).out
    assert cli("ls", "--json").json[0]["metrics"]["rate"] == 8.228650119817602e-05


def test_a_terminal_of_80_columns_shows_metrics_and_names_the_columns_left_out(small_store: Store) -> None:
    current_store.set_store(small_store.path)
    with fluent.start_run(run_name="a-run-with-quite-a-long-name") as run:
        run.log_metrics({"train/loss": 1 / 3, "val/loss": 2 / 3, "val/accuracy": 0.25})
    lines = in_terminal(small_store.path, "ls", width=80).splitlines()
    assert max(len(line) for line in lines if not line.startswith("not shown")) <= 80
    assert "loss" in lines[0] and "points" not in lines[0]
    assert any(line.startswith("not shown, as the terminal is narrow: ") and "points" in line for line in lines)


def test_ls_shows_aggregates(cli: Cli) -> None:
    said = cli("ls", "-c", "min(loss)", "-c", "mean(loss),params.lr", "--order-by", "min(loss)")
    lines = said.out.splitlines()
    assert lines[0].split()[-3:] == ["min(loss)", "mean(loss)", "params.lr"]
    assert lines[1].split()[1] == "spirals-3"
    assert "aggregates" not in cli("ls", "--json").json[0]
    assert cli("ls", "-c", "min(loss)", "--json").json[0]["aggregates"] == {"min(loss)": 1 / 22}


@pytest.mark.slow
def test_columns_are_remembered_in_a_terminal_until_they_are_set_to_default(small_store: Store, cli: Cli) -> None:
    def heads(*words: str) -> tuple[list[str], bool]:
        shown = in_terminal(small_store.path, "ls", *words, width=200)
        (head,) = [line for line in shown.splitlines() if line.startswith("id ")]
        return head.split()[-2:], "remembered" in shown

    usual = cli("ls").out.splitlines()[0].split()[-2:]
    assert usual != ["min(loss)", "params.lr"]
    assert heads("-c", "min(loss),params.lr") == (["min(loss)", "params.lr"], True)
    assert heads() == (["min(loss)", "params.lr"], False)
    in_terminal(small_store.path, "ls", "-c", "acc", "--json")  # which a script reads, too
    assert heads() == (["min(loss)", "params.lr"], False)
    assert cli("ls").out.splitlines()[0].split()[-2:] == usual  # what a script reads stays the same
    assert heads("-c", "default") == (usual, False)
    assert heads() == (usual, False)


def test_ls_names_the_metric_of_an_aggregate_that_no_run_has(cli: Cli) -> None:
    assert "none of these runs has 'lass'; did you mean loss or" in cli("ls", "-c", "min(lass)").err


def test_ls_groups_runs_with_mean_and_deviation(cli: Cli) -> None:
    lines = cli("ls", "--group-by", "params.lr", "-c", "accuracy,count(loss)").out.splitlines()
    assert lines[0].split() == ["params.lr", "runs", "accuracy", "count(loss)"]
    assert lines[1].split() == ["0.1", "2", "0.38", "±", "0.18", "20", "±", "0"]
    assert lines[2].split() == ["0.2", "1", "0.75", "20"]
    found = cli("ls", "-g", "lr", "-c", "accuracy", "--order-by", "accuracy DESC", "--json").json
    assert [group["keys"]["lr"] for group in found] == ["0.2", "0.1"]
    assert cli("ls", "-g", "lr", "-o", "nothing", "-c", "accuracy").code == 2


def test_ls_draws_in_place_in_a_terminal_and_one_after_the_other_in_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter([True, False])

    def sleep(_: float) -> None:
        if not next(left):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repeat(lambda: print("a\nb"), 1.0, sleep=sleep)
    assert capsys.readouterr().out == "a\nb\n\na\nb\n"
    left = iter([True, False])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with pytest.raises(KeyboardInterrupt):
        repeat(lambda: print("a\nb"), 1.0, sleep=sleep)
    assert capsys.readouterr().out == "\r\x1b[Ja\nb\n\x1b[2A\r\x1b[Ja\nb\n"


def test_what_is_shown_can_be_filtered_and_ordered_by(cli: Cli) -> None:
    found = cli("ls", "-f", "name LIKE 'spirals-%' AND experiment_name = 'spirals' AND duration < 1000", "--json").json
    assert len(found) == 3
    assert cli("ls", "-f", "duration > 1000", "--json").json == []
    assert cli("ls", "-o", "duration DESC", "-o", "name", "--json").code == 0
    assert (
        len(cli("ls", "-f", "experiment != 'spirals' AND metrics.loss < 9" + " AND name != 'x'" * 12, "--json").json)
        == 0
    )


def test_params_with_several_values_are_shown_before_those_that_only_some_runs_have(
    cli: Cli, small_store: Store
) -> None:
    current_store.set_store(small_store.path)
    with fluent.start_run(run_name="more") as run:
        run.log_params({"a": "1", "b": "1", "c": "1", "lr": "0.7"})
    assert "lr" in cli("ls").out.splitlines()[0].split()


def test_params_that_tell_runs_apart_are_shown(cli: Cli, small_store: Store) -> None:
    assert cli("ls").out.splitlines()[0].split()[-1] == "lr"
    current_store.set_store(small_store.path)
    with fluent.start_run(run_name="wide") as run:
        run.log_params({"loss": "mse", "a.b": "1", "lr": "0.7", "same": "x"})
    assert cli("ls", "-f", "name = 'wide'").out.splitlines()[0].split()[-3:] == ["params.a.b", "loss", "lr"]


def test_times_are_iso_8601_in_utc_for_programs(cli: Cli) -> None:
    stamp = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.(\d{3}|\d{9})Z")
    shown, (listed,) = cli("show", "spirals-1", "--json").json, cli("ls", "-n", "1", "--json").json
    times = [listed["start_time"], listed["end_time"], shown["start_time"], shown["metrics"]["loss"]["time"]]
    times += [shown["writers"][0]["opened"], cli("experiments", "--json").json[-1]["creation_time"]]
    times += [cli("metrics", "spirals-1", "loss", "--json").json["loss"][0]["time"]]
    times += [cli("tail", "spirals-1", "-n", "1").out.split("\t")[0]]
    times += [cli("metrics", "spirals-1", "loss").out.splitlines()[1].split()[2]]
    assert [time for time in times if not stamp.fullmatch(time)] == []


def test_a_value_of_several_lines_is_shown_line_by_line(cli: Cli) -> None:
    assert cli("tag", "spirals-1", "mltrack.error=Traceback:\n  File 'a'\nValueError: b").code == 0
    assert "\nmltrack.error\nTraceback:\n  File 'a'\nValueError: b\n" in cli("show", "spirals-1").out


def test_show_lists_what_recorded_and_counts_what_edited(cli: Cli) -> None:
    assert cli("tag", "spirals-1", "a=b").code == cli("note", "spirals-1", "c").code == 0
    said = cli("show", "spirals-1")
    assert said.out.partition("\nWriters\n")[2].count("\n") == 2
    assert "2 edits by tag, rename and the like" in said.err
    assert len(cli("show", "spirals-1", "--json").json["writers"]) == 3


def test_a_fixed_column_may_be_named_and_a_misspelled_one_is_answered(cli: Cli) -> None:
    assert cli("ls", "-c", "name,loss").err == ""
    assert "did you mean name?" in cli("ls", "-c", "nam").err
