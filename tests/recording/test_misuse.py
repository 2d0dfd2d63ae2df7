"""Mistakes in a program's calls: the error names the thing, says what to do, and hides nothing behind it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mltrack
from mltrack.errors import MltrackError
from mltrack.recording import current_store


@pytest.fixture
def run(tmp_path: Path) -> Iterator[mltrack.Run]:
    """An active run."""
    current_store.set_store(tmp_path / ".mltrack")
    with mltrack.start_run(run_name="r") as run:
        yield run


LIST: Any = ["loss", 1]

MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "params": (lambda: mltrack.log_params(LIST), "params must be a dict of values by name, not list"),
    "metrics": (lambda: mltrack.log_metrics(LIST), "metrics must be a dict of values by name, not list"),
    "log": (lambda: mltrack.log(LIST), "metrics must be a dict of values by name, not list"),
    "tags": (lambda: mltrack.set_tags(LIST), "tags must be a dict of values by name, not list"),
    "tags of a start": (lambda: mltrack.start_run(nested=True, tags=LIST), "tags must be a dict"),
    "value": (lambda: mltrack.log_metric("loss", LIST), "metric 'loss': ['loss', 1] is not a number"),
    "name": (lambda: mltrack.log_metric("", 1), "metric names must be non-empty text, not ''"),
    "step": (lambda: mltrack.log_metric("loss", 1, step=1.5), "step 1.5 is not a 64-bit integer"),  # type: ignore[arg-type]
    "file": (lambda: mltrack.log_artifact(None), "a path is text, not NoneType"),  # type: ignore[arg-type]
    "folder": (lambda: mltrack.log_artifacts(3), "a path is text, not int"),  # type: ignore[arg-type]
    "run": (lambda: mltrack.get_run(None), "a run is named by text, not NoneType"),  # type: ignore[arg-type]
    "run to log to": (lambda: mltrack.log_metric("a", 1, run_id=3), "3"),  # type: ignore[arg-type]
    "run to resume": (lambda: mltrack.start_run(3, nested=True), "a run is named by text, not int"),  # type: ignore[arg-type]
    "parent": (lambda: mltrack.start_run(nested=True, parent_run_id=3), "a run is named by text, not int"),  # type: ignore[arg-type]
    "name of a tag": (lambda: mltrack.start_run(nested=True, tags={"": 1}), "tag names must be non-empty text"),
    "history": (lambda: mltrack.start_run(nested=True, history="all"), "history='all' is not a number"),  # type: ignore[arg-type]
    "guards": (lambda: mltrack.start_run(nested=True, guards=3), "guards is a list of rules, not int"),  # type: ignore[arg-type]
    "tags of an experiment": (lambda: mltrack.set_experiment_tags(LIST), "tags must be a dict"),
    "place of a file": (lambda: mltrack.log_artifact(__file__, 3), "a path is text, not int"),  # type: ignore[arg-type]
    "model": (lambda: mltrack.register_model(3, "m"), "URI is a text, not 3"),  # type: ignore[arg-type]
    "experiments": (lambda: mltrack.search_runs(experiment_ids=3), "experiment_ids is 3, not a list"),  # type: ignore[call-overload]
    "names": (lambda: mltrack.search_runs(experiment_names="arms"), "experiment_names is 'arms', not a list"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_a_hint_and_without_other_errors(run: mltrack.Run, name: str) -> None:
    call, words = MISTAKES[name]
    with pytest.raises(MltrackError) as caught:
        call()
    assert words in str(caught.value)
    shown = "".join(traceback.format_exception(caught.value))
    assert shown.rstrip().endswith(f"hint: {caught.value.hint}")
    assert "During handling" not in shown


def test_logging_to_a_run_that_has_ended_hides_nothing_behind_the_error(run: mltrack.Run) -> None:
    run.end()
    with pytest.raises(mltrack.RunStateError, match=f"run {run.run_id} has ended") as caught:
        run.log_metric("loss", 1)
    assert "During handling" not in "".join(traceback.format_exception(caught.value))


class Named:
    """What has names but is no Mapping, as a pandas Series or a configuration of ml_collections."""

    def items(self) -> Iterator[tuple[str, float]]:
        yield "loss", 0.5


def test_what_has_items_as_a_dict_is_logged_as_one(run: mltrack.Run) -> None:
    named: Any = Named()
    for log in (mltrack.log_metrics, mltrack.log_params, mltrack.set_tags):
        log(named)
    data = run.data
    assert (data.metrics, data.params, data.tags["loss"]) == ({"loss": 0.5}, {"loss": "0.5"}, "0.5")


def test_nothing_is_logged_by_a_call_that_is_refused(run: mltrack.Run) -> None:
    for call, _ in MISTAKES.values():
        with pytest.raises(MltrackError):
            call()
    assert run.stored().point_count == 0
    assert run.stored().params == {}


def test_a_name_and_a_description_that_are_not_text_become_text_and_the_run_is_read(run: mltrack.Run) -> None:
    name: Any = 3
    with mltrack.start_run(run_name=name, description=name, nested=True) as numbered:
        pass
    with mltrack.fork_run(run.run_id, 0, run_name=name, nested=True) as forked:
        pass
    for made in (numbered, forked):
        assert mltrack.get_run(made.run_id).info.run_name == "3"


def test_an_empty_name_is_none_as_in_mlflow(run: mltrack.Run) -> None:
    with mltrack.start_run(run_name="", nested=True) as nameless:
        assert nameless.name
