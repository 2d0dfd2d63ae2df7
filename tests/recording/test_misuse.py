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
    "table of runs": (lambda: mltrack.load_table("t.json", run_ids=3), "run_ids is 3, not a list"),  # type: ignore[arg-type]
    "datasets": (lambda: mltrack.log_inputs(datasets=3), "datasets is 3, not a list"),  # type: ignore[arg-type]
    "outputs": (lambda: mltrack.log_outputs({"a": 1}), "models is {'a': 1}, not a list"),  # type: ignore[arg-type]
    "stream": (lambda: mltrack.log_stream(b"x", "x"), "stream is b'x', which has no read()"),  # type: ignore[arg-type]
    "view": (lambda: mltrack.search_runs(run_view_type=LIST), "is not a view of runs"),
    "view of experiments": (lambda: mltrack.search_experiments(LIST), "is not a view of experiments"),
    "order": (lambda: mltrack.search_runs(order_by=3), "order_by is 3, not a list"),  # type: ignore[call-overload]
    "aggregates": (lambda: mltrack.search_runs(aggregates=3), "aggregates is 3, not a list"),  # type: ignore[call-overload]
    "most": (lambda: mltrack.search_runs(max_results=1 << 70), "max_results is 1180591620717411303424"),
    "tracking": (lambda: mltrack.set_tracking_uri(3), "uri is 3, not a path"),  # type: ignore[arg-type]
    "guard's name": (lambda: mltrack.Guard("a > 1", name=3), "name is 3, not text"),  # type: ignore[arg-type]
    "guard's stop": (lambda: mltrack.Guard("a > 1", stop="no"), "stop is 'no', not True or False"),  # type: ignore[arg-type]
    "guard's runs": (lambda: mltrack.Guard("a > 1", experiments=3), "experiments is 3, not a list"),  # type: ignore[arg-type]
    "size": (lambda: mltrack.Image([[1]]).resize(3), "size is 3"),  # type: ignore[arg-type]
    "SQL": (lambda: mltrack.get_store().sql(None), "query is None, not text"),  # type: ignore[arg-type]
    "values in SQL": (lambda: mltrack.get_store().sql("SELECT ?", 3), "params is 3, not a list"),  # type: ignore[arg-type]
    "time for SQL": (lambda: mltrack.get_store().sql("SELECT 1", timeout_s=-1), "timeout_s is -1"),
    "groups": (lambda: mltrack.get_store().group_runs(3, []), "by is 3, not a list"),  # type: ignore[arg-type]
    "kind of keys": (lambda: mltrack.get_store().keys("x"), "entity is 'x'"),
    "runs to plot": (lambda: mltrack.get_store().plot(runs="r"), "runs is 'r', not a list"),
    "summaries": (lambda: mltrack.get_store().summaries([3]), "run_ids is 3, not text"),  # type: ignore[list-item]
    "metric": (lambda: mltrack.get_run("r").metrics(3), "key is 3, not text"),  # type: ignore[arg-type]
    "series": (lambda: mltrack.get_run("r").series(3), "key is 3, not text"),  # type: ignore[arg-type]
    "pattern": (lambda: mltrack.get_run("r").plot(3), "metric is 3, not text"),  # type: ignore[arg-type]
    "positions": (lambda: mltrack.get_run("r").read_events(3), "after is 3, not a dict"),  # type: ignore[arg-type]
    "artifact": (lambda: mltrack.artifacts.load_text(3), "artifact_uri is 3, not a path"),  # type: ignore[arg-type]
    "copy": (lambda: mltrack.artifacts.download_artifacts(".", dst_path=3), "dst_path is 3"),  # type: ignore[arg-type]
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
