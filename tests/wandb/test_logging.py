"""Rows, steps, nested names, summaries, config: what a script's calls leave in the run."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mltrack
import mltrack.wandb as wandb
from mltrack.errors import RunStateError
from mltrack.recording import current_store
from mltrack.storage.runs.stored_run import StoredRun
from mltrack.store import Store
from mltrack.wandb.errors import ConfigError


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A new store, in the working folder; no run goes on afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_X_DISABLE_STATS", "true")
    current_store.set_store(tmp_path / ".mltrack")
    yield Store.create(tmp_path / ".mltrack")
    wandb.finish()
    current_store.set_store(None)


def only(store: Store) -> StoredRun:
    (run,) = store.runs()
    return run


def points(store: Store) -> dict[str, list[tuple[int, float]]]:
    table = only(store).metrics()
    found: dict[str, list[tuple[int, float]]] = {}
    for key, step, value in zip(*(table.column(name).to_pylist() for name in ("metric", "step", "value")), strict=True):
        found.setdefault(key, []).append((step, value))
    return found


@pytest.mark.parametrize(("quiet", "lines"), [("0", 1), ("1", 0)])
def test_runs_are_announced_unless_the_environment_asks_for_quiet(
    store: Store, quiet: str, lines: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLTRACK_QUIET", "1")
    wandb.init(project="p").finish()
    capsys.readouterr()
    monkeypatch.setenv("MLTRACK_QUIET", quiet)
    monkeypatch.setenv("MLTRACK_RUN_ID", only(store).run_id)  # so mltrack's own lines are not said
    run = wandb.init(project="p")
    said = capsys.readouterr().err
    run.finish()
    assert said.count("mltrack.wandb: run ") == lines


# --- rows ---


def test_steps_rise_with_each_row_and_a_row_has_all_calls_without_commit(store: Store) -> None:
    wandb.init(project="p")
    wandb.log({"a": 1}, commit=False)
    wandb.log({"b": 2})
    wandb.log({"a": 3})
    wandb.finish()
    assert points(store) == {"a": [(0, 1), (1, 3)], "b": [(0, 2)]}


def test_a_given_step_opens_its_row_and_commit_closes_it(store: Store) -> None:
    run = wandb.init(project="p")
    run.log({"a": 1}, step=10)
    assert run.step == 10
    run.log({"b": 1}, step=10, commit=True)
    assert run.step == 11
    run.log({"c": 1})
    run.finish()
    assert points(store) == {"a": [(10, 1)], "b": [(10, 1)], "c": [(11, 1)]}


def test_a_step_before_the_present_row_is_kept_and_said(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    run = wandb.init(project="p")
    run.log({"a": 1}, step=10)
    run.log({"a": 2}, step=3)
    run.log({"a": 3})
    run.finish()
    assert points(store) == {"a": [(10, 1), (3, 2), (10, 3)]}


def test_what_a_call_returned_from_survives_kill_9(tmp_path: Path) -> None:
    program = "import os, mltrack.wandb as wandb; wandb.init(project='p', config={'lr': 1});"
    program += "wandb.log({'a': 1}); wandb.log({'b': 2}, commit=False); os.kill(os.getpid(), 9)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "MLTRACK_STORE": str(tmp_path / "s"), "WANDB_X_DISABLE_STATS": "true"},
    )
    assert done.returncode == -signal.SIGKILL
    run = only(Store.open(tmp_path / "s"))
    assert (run.info.status, run.params) == ("FAILED", {"lr": "1"})
    assert points(Store.open(tmp_path / "s")) == {"a": [(0, 1)], "b": [(1, 2)]}


def test_values_that_are_not_a_row_raise_as_with_wandb(store: Store) -> None:
    run = wandb.init(project="p")
    bad: Any = [1]
    with pytest.raises(TypeError, match="must be passed a dictionary"):
        run.log(bad)
    with pytest.raises(TypeError, match="must be strings"):
        run.log({1: 2})  # type: ignore[dict-item]  # that is what is tried
    run.finish()
    with pytest.raises(RunStateError):
        run.log({"a": 1})


def test_without_a_run_the_error_names_the_call(store: Store) -> None:
    with pytest.raises(wandb.Error, match=r"wandb.init\(\) before wandb.log\(\)"):
        wandb.log({"a": 1})
    with pytest.raises(wandb.Error, match=r"before wandb\.config\.lr"):
        wandb.config.lr  # noqa: B018  # that is what is tried
    assert wandb.run is None


# --- summary and define_metric ---


def test_the_least_value_is_a_metric_of_its_own_that_runs_are_found_by(store: Store) -> None:
    with wandb.init(project="p", name="n") as run:
        run.define_metric("loss", summary="min,mean")
        for value in (3.0, 1.0, 2.0):
            run.log({"loss": value})
        assert run.summary["loss"] == {"min": 1.0, "mean": 2.0}
    assert points(store)["loss.min"] == [(0, 3.0), (1, 1.0), (2, 1.0)]
    assert [found.info.run_name for found in store.search_runs(filter_string='metrics."loss.min" < 1.5')] == ["n"]


def test_an_x_axis_is_kept_and_logged_again_in_rows_without_it(store: Store) -> None:
    with wandb.init(project="p") as run:
        run.define_metric("val/*", step_metric="epoch")
        run.log({"epoch": 3, "val/loss": 1})
        run.log({"val/loss": 2})
        run.log({"other": 1})
    assert points(store)["epoch"] == [(0, 3), (1, 3)]
    assert only(store).tags["wandb.step_metric.val/*"] == "epoch"


def test_a_summary_set_by_hand_is_a_metric_unless_one_is_logged(store: Store) -> None:
    with wandb.init(project="p") as run:
        run.log({"loss": 2.0})
        run.summary["loss"] = 1.0
        run.summary.best = 0.5
    assert points(store) == {"loss": [(0, 2.0)], "best": [(0, 0.5)]}
    text = only(store).artifact_path("wandb-summary.json").read_text()
    assert json.loads(text) == {"loss": 1.0, "best": 0.5}


def test_copy_is_wandbs_old_word_for_a_summary_with_the_last_value(store: Store) -> None:
    with wandb.init(project="p") as run:
        run.define_metric("loss", summary="copy")
        run.log({"loss": 2.0})
        run.log({"loss": 3.0})
        assert run.summary["loss"] == 3.0


def test_define_metric_refuses_what_wandb_refuses(store: Store) -> None:
    run = wandb.init(project="p")
    with pytest.raises(wandb.Error):
        run.define_metric("a*b")
    with pytest.raises(wandb.Error):
        run.define_metric("a", summary="median")


# --- config ---


def test_a_config_is_set_by_items_attributes_and_namespaces(store: Store) -> None:
    run = wandb.init(project="p", config={"model": {"depth": 3}, "skip": 1}, config_exclude_keys=["skip"])
    wandb.config.lr = 0.1
    wandb.config["name"] = "mlp"
    wandb.config.update(argparse.Namespace(seed=7))
    wandb.config.setdefaults({"seed": 8, "more": [1, 2]})
    assert (run.config.lr, run.config["model"]["depth"], run.config.get("none", 5)) == (0.1, 3, 5)
    assert "seed" in run.config
    run.finish()
    assert only(store).params == {"model.depth": "3", "lr": "0.1", "name": "mlp", "seed": "7", "more": "[1, 2]"}


def test_a_config_value_does_not_change_unless_that_is_allowed(store: Store) -> None:
    run = wandb.init(project="p", config={"lr": 1})
    with pytest.raises(ConfigError, match="Attempted to change value"):
        run.config.update({"lr": 2, "new": 1})
    assert "new" not in run.config
    run.config.update({"lr": 2}, allow_val_change=True)
    assert run.config.lr == 2
    run.finish()
    assert (only(store).params, only(store).tags["wandb.config.lr"]) == ({"lr": "1"}, "2")


def test_yaml_files_are_configs_in_either_form(store: Store) -> None:
    Path("config-defaults.yaml").write_text("lr: {value: 0.1, desc: rate}\nseed: {value: 1}\n")
    Path("mine.yaml").write_text("seed: 2\n")
    run = wandb.init(project="p", config="mine.yaml")
    assert dict(run.config) == {"lr": 0.1, "seed": 2}


# --- starting and ending ---


def test_a_run_has_the_properties_that_scripts_read(store: Store) -> None:
    run = wandb.init(project="p", entity="e", name="n", id="abc", group="g", job_type="j", tags=["t"], notes="words")
    assert (run.id, run.name, run.project, run.group, run.job_type, run.tags) == ("abc", "n", "p", "g", "j", ("t",))
    assert run.path == "e/p/abc"
    assert wandb.run is run
    Path(run.dir, "made.txt").write_text("x")
    run.name = "renamed"
    run.finish()
    assert wandb.run is None
    stored = only(store)
    assert stored.info.run_name == "renamed"
    assert stored.tags["mlflow.note.content"] == "words"
    assert [artifact.path for artifact in stored.artifacts] == ["made.txt"]


def test_exit_codes_and_exceptions_fail_a_run(store: Store) -> None:
    wandb.init(project="p", name="a").finish(exit_code=1)
    with pytest.raises(ZeroDivisionError), wandb.init(project="p", name="b"):
        _ = 1 / 0
    wandb.init(project="p", name="c").finish()
    assert {run.info.run_name: run.info.status for run in store.runs()} == {
        "a": "FAILED",
        "b": "FAILED",
        "c": "FINISHED",
    }


def test_a_run_is_resumed_by_its_id_with_its_config_and_after_its_last_step(store: Store) -> None:
    with wandb.init(project="p", id="one", config={"lr": 0.1, "net": {"depth": 2}}) as run:
        run.log({"a": 1}, step=4)
    with wandb.init(project="p", id="one", resume="allow") as run:
        assert (run.config.lr, run.config.net, run.step, run.resumed) == (0.1, {"depth": 2}, 5, True)
        run.log({"a": 2})
    assert points(store) == {"a": [(4, 1), (5, 2)]}


def test_a_run_is_rewound_to_a_step_and_goes_on_after_it(store: Store) -> None:
    with wandb.init(project="p", id="one", config={"lr": 0.1}) as run:
        for step in range(6):
            run.log({"a": step})
    with wandb.init(project="p", resume_from="one?_step=2", config={"lr": 0.2}) as run:
        assert (run.id, run.step, run.resumed, run.forked, run.config.lr) == ("one", 3, True, False, 0.2)
        run.log({"a": 30})
    assert points(store) == {"a": [(0, 0), (1, 1), (2, 2), (3, 30)]}


def test_a_run_branches_off_another_ones_history(store: Store) -> None:
    with wandb.init(project="p", id="one", config={"lr": 0.1}, tags=["x"]) as first:
        for step in range(6):
            first.log({"a": step})
    with wandb.init(project="p", id="two", fork_from="one?_step=2", name="branch") as run:
        assert (run.id, run.name, run.step, run.resumed, run.forked) == ("two", "branch", 3, False, True)
        assert run.config.lr == 0.1
        run.log({"a": 30})
    assert first.mltrack_run is not None and run.mltrack_run is not None
    found = {each.run_id: each for each in store.runs()}
    assert len(found) == 2
    branch = found[run.mltrack_run.run_id]
    assert branch.metrics("a").column("value").to_pylist() == [0, 1, 2, 30]
    assert branch.tags["mltrack.forkedFrom"] == first.mltrack_run.run_id
    assert found[first.mltrack_run.run_id].summaries["a"].count == 6
    with wandb.init(project="p", id="one", resume="must") as again:  # not the branch
        assert again.mltrack_run is not None
        assert again.mltrack_run.run_id == first.mltrack_run.run_id


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"resume_from": "one"}, "names no step of a run"),
        ({"resume_from": "one?loss=3"}, "names no step of a run"),
        ({"resume_from": "one?_step=3", "resume": "must"}, "exclude each other"),
        ({"resume_from": "one?_step=3", "fork_from": "one?_step=3"}, "exclude each other"),
        ({"resume_from": "one?_step=3", "id": "two"}, "is not the run of resume_from"),
        ({"fork_from": "one?_step=3", "id": "one"}, "is the run of fork_from itself"),
        ({"fork_from": "one?_step=3", "resume": True}, "exclude each other"),
        ({"fork_from": "none?_step=3"}, "no run 'none' in 'p'"),
    ],
)
def test_where_a_run_goes_on_must_be_clear(store: Store, options: dict[str, Any], words: str) -> None:
    with pytest.raises(wandb.UsageError, match=words):
        wandb.init(project="p", **options)
    assert list(store.runs()) == []


def test_resume_must_and_never_are_kept(store: Store) -> None:
    with pytest.raises(wandb.UsageError):
        wandb.init(project="p", id="one", resume="must")
    wandb.init(project="p", id="one").finish()
    with pytest.raises(wandb.UsageError):
        wandb.init(project="p", id="one", resume="never")
    wandb.init(project="other", id="one", resume="never").finish()
    wandb.init(project="p", id="one").finish()  # wandb would overwrite it
    assert len(list(store.runs())) == 3


def test_a_run_that_goes_on_is_returned_ended_or_left(store: Store) -> None:
    first = wandb.init(project="p")
    assert wandb.init(project="p") is first
    second = wandb.init(project="p", reinit=True)
    assert only_ended(store) == [first.mltrack_run.run_id] if first.mltrack_run else False
    third = wandb.init(project="p", reinit="create_new")
    second.log({"a": 1})
    third.finish()
    second.finish()
    assert len(list(store.runs())) == 3


def only_ended(store: Store) -> list[str]:
    return [run.run_id for run in store.runs() if run.info.status == "FINISHED"]


@pytest.mark.parametrize("how", ["argument", "variable", "settings"])
def test_a_disabled_run_takes_all_calls_and_stores_nothing(
    store: Store, how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if how == "variable":
        monkeypatch.setenv("WANDB_MODE", "disabled")
    settings = wandb.Settings(mode="disabled") if how == "settings" else None
    run = wandb.init(project="p", mode="disabled" if how == "argument" else None, settings=settings)
    run.log({"a": 1, "h": wandb.Histogram([1, 2])})
    run.config.lr = 1
    Path(run.dir, "made.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    run.save("file")
    run.log_artifact("file", name="f", type="t")
    run.summary["best"] = 1
    run.finish()
    assert list(store.runs()) == []


def test_wandb_variables_name_a_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, text in {"PROJECT": "q", "NAME": "n", "RUN_ID": "i", "TAGS": "a,b", "NOTES": "w"}.items():
        monkeypatch.setenv(f"WANDB_{variable}", text)
    run = wandb.init()
    assert (run.project, run.name, run.id, run.tags, run.notes) == ("q", "n", "i", ("a", "b"), "w")


def test_without_a_project_mltracks_own_experiment_is_taken(store: Store) -> None:
    wandb.init().finish()
    mltrack.set_experiment("mine")
    wandb.init().finish()
    assert sorted(run.info.experiment_name for run in store.runs()) == ["mine", "uncategorized"]


def test_an_alert_is_a_tag_and_is_said_once_in_a_while(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    run = wandb.init(project="p")
    run.alert("low", "accuracy fell", level=wandb.AlertLevel.WARN)
    run.alert("low", "again")
    run.finish()
    assert json.loads(only(store).tags["wandb.alert.low"]) == {"text": "accuracy fell", "level": "WARN"}
    assert "alert WARN: low" in capfd.readouterr().err


def test_settings_without_an_effect_are_said(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    wandb.init(project="p", settings=wandb.Settings(console="off"), save_code=True)
    said = capfd.readouterr().err
    assert "'console' has no effect" in said
    assert "save_code" in said
    with pytest.raises(wandb.UsageError):
        wandb.Settings(mode="sometimes")


def test_login_says_that_it_is_not_needed(capfd: pytest.CaptureFixture[str]) -> None:
    assert wandb.login(key="x") is True
    assert "not needed" in capfd.readouterr().err
