"""Odd values poured into every call that writes: each is refused before anything is written, or reads back equal."""

from __future__ import annotations

import datetime
import decimal
import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mltrack.entities import Dataset, ModelMetric
from mltrack.errors import MltrackError
from mltrack.recording import current_store, experiment_functions, fluent, log_functions
from mltrack.recording.run import Run
from mltrack.storage.check.check import check_store
from mltrack.storage.runs.edit import set_tag
from mltrack.storage.runs.imported import RunImport
from mltrack.store import Store
from mltrack.values.rich import Histogram, Table, Text

Call = Callable[[Any], object]


def _nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


ODD: dict[str, Any] = {
    "2**63": 2**63,
    "-2**63-1": -(2**63) - 1,
    "2**62": 2**62,
    "-1": -1,
    "an integer of 5,000 digits": 10**5000,
    "NaN": math.nan,
    "infinity": -math.inf,
    "1e300": 1e300,
    "half a surrogate pair": "a\ud800b",
    "a NUL": "a\0b",
    "a line break": "a\nb\r\x1b[0m",
    "70,000 characters": "x" * 70_000,
    "bytes": b"\xff\0",
    "a deep list": _nested(3000),
    "a list of 150 levels": _nested(150),
    "a dict": {"a": b"x", 1: 2**70},
    "None": None,
    "True": True,
    "no text": "",
    "a Decimal": decimal.Decimal("1e30"),
    "an object": object(),
    "uint64": np.uint64(2**64 - 1),
    "the year 1": datetime.datetime(1, 1, 1),
    "a complex number": 1j,
    "a class": dict,
}

SOME = ["2**63", "NaN", "half a surrogate pair", "bytes", "a deep list", "a dict", "None"]
every_value = pytest.mark.parametrize(
    "odd", [SOME, pytest.param(list(ODD), marks=pytest.mark.slow)], ids=["some", "all"]
)

_numbers = itertools.count()


def _new() -> str:
    return f"k{next(_numbers)}"


def _run_calls(run: Run, ended: str) -> dict[str, Call]:
    """Calls about runs, each with one odd argument."""
    m = "m-" + "0" * 32
    pixels = np.zeros((2, 2), np.uint8)
    return {
        "log_metric value": lambda v: run.log_metric(_new(), v),
        "log_metric key": lambda v: run.log_metric(v, 1.0),
        "log_metric step": lambda v: run.log_metric("s", 1.0, step=v),
        "log_metric timestamp": lambda v: run.log_metric("s", 1.0, timestamp=v),
        "log_metrics": run.log_metrics,
        "log_metrics step": lambda v: run.log_metrics({"a": 1.0}, step=v),
        "log value": lambda v: run.log({_new(): v}),
        "log text": lambda v: run.log({_new(): Text(v)}),
        "log text step": lambda v: run.log({_new(): Text("a")}, step=v),
        "log table": lambda v: run.log({_new(): Table([[v]], columns=["c"])}),
        "log table column": lambda v: run.log({_new(): Table([[1]], columns=[v])}),
        "log histogram": lambda v: run.log({_new(): Histogram([v, 1.0])}),
        "log histogram counts": lambda v: run.log({_new(): Histogram.from_counts([v], [0, 1])}),
        "log_series values": lambda v: run.log_series(_new(), [v]),
        "log_series steps": lambda v: run.log_series(_new(), [1.0], steps=[v]),
        "log_series times": lambda v: run.log_series(_new(), [1.0], times=[v]),
        "log_series name": lambda v: run.log_series(v, [1.0]),
        "log_param value": lambda v: run.log_param(_new(), v),
        "log_param key": lambda v: run.log_param(v, "1"),
        "log_params": run.log_params,
        "set_tag value": lambda v: run.set_tag(_new(), v),
        "set_tag key": lambda v: run.set_tag(v, 1),
        "set_tags": run.set_tags,
        "delete_tag": run.delete_tag,
        "log_input": run.log_input,
        "log_input name": lambda v: run.log_input(Dataset(v, "d", "local", "s")),
        "log_input profile": lambda v: run.log_input(Dataset(_new(), "d", "local", "s", "{}", v)),
        "log_input context": lambda v: run.log_input(Dataset(_new(), "d", "local", "s"), v),
        "log_input tags": lambda v: run.log_input(Dataset(_new(), "d", "local", "s"), "c", v),
        "log_input tag": lambda v: run.log_input(Dataset(_new(), "d", "local", "s"), "c", {"a": v}),
        "log_input model": lambda v: run.log_input(model=v),
        "log_outputs": lambda v: run.log_outputs([v]),
        "log_outputs step": lambda v: run.log_outputs([SimpleNamespace(model_id=m, step=v)]),
        "log_image key": lambda v: run.log_image(pixels, key=v, step=1),
        "log_image step": lambda v: run.log_image(pixels, key="i", step=v),
        "log_text file": lambda v: run.log_text("a", v),
        "log_artifact": run.log_artifact,
        "rewind": run.rewind,
        "start_run id": lambda v: fluent.start_run(run_id=v, nested=True).end(),
        "start_run name": lambda v: fluent.start_run(run_name=v, nested=True).end(),
        "start_run tags": lambda v: fluent.start_run(tags=v, nested=True).end(),
        "start_run experiment": lambda v: fluent.start_run(experiment_id=v, nested=True).end(),
        "start_run history": lambda v: fluent.start_run(history=v, nested=True).end(),
        "start_run rewind_to": lambda v: fluent.start_run(run_id=ended, rewind_to=v, nested=True).end(),
        "fork_run step": lambda v: fluent.fork_run(ended, v).end(),
        "end": lambda v: fluent.start_run(nested=True).end(v) if v == "FINISHED" else run.end(v),
    }


def _store_calls(store: Store, ended: str) -> dict[str, Call]:
    """Calls about what is around runs, each with one odd argument."""
    registry, models, workspace = store.registry, store.logged_models, store.workspace
    model, experiment = models.create("0", "m").model_id, workspace.create("e").experiment_id
    registry.create_version("net", "runs:/a/model", create_model=True)

    def imported(**event: Any) -> None:
        writing = RunImport(store.layout, ended, "elsewhere")
        try:
            writing.add(event)
        finally:
            writing.close(whole=writing.began)

    def metric(key: Any = "k", value: Any = 1.0, step: Any = 0, time: Any = 0, run: Any = "r", name: Any = "d") -> None:
        models.log_metrics(model, [ModelMetric(key, value, step, time, run, name, "digest")])

    def span(content: Any = None, **head: Any) -> None:
        fields = {"id": "s1", "name": "root", "status": "OK", "start": 5, **head}
        fact = {"type": "spans", "trace_id": _new(), "start": 5, "heads": [fields]}
        store.traces.add_spans("0", [fact], [[content or {"name": "root"}]])

    return {
        "create_experiment": current_store.create_experiment,
        "create_experiment tags": lambda v: current_store.create_experiment(_new(), tags=v),
        "create_experiment tag": lambda v: current_store.create_experiment(_new(), tags={"a": v}),
        "set_experiment_tag key": lambda v: current_store.set_experiment_tag(v, "1"),
        "set_experiment_tag": lambda v: current_store.set_experiment_tag("a", v),
        "set_experiment_tags": experiment_functions.set_experiment_tags,
        "rename experiment": lambda v: workspace.rename(experiment, v),
        "tag of an ended run": lambda v: set_tag(store.layout, ended, "a", v),
        "stop_run": lambda v: store.stop_run(ended, v),
        "rewind_run": lambda v: store.rewind_run(ended, v),
        "register_model": lambda v: log_functions.register_model(v, "net"),
        "register_model name": lambda v: log_functions.register_model(f"runs:/{ended}", v),
        "register_model tag": lambda v: log_functions.register_model(f"runs:/{ended}", "net", tags={"a": v}),
        "create_model": registry.create_model,
        "create_model description": lambda v: registry.create_model(_new(), v),
        "create_model tags": lambda v: registry.create_model(_new(), "", v),
        "model tag": lambda v: registry.set_model_tag("net", "a", v),
        "alias": lambda v: registry.set_alias("net", v, 1),
        "alias version": lambda v: registry.set_alias("net", "b", v),
        "version tag": lambda v: registry.set_version_tag("net", 1, "a", v),
        "version stage": lambda v: registry.set_stage("net", 1, v),
        "logged model": lambda v: models.create("0", v),
        "logged model experiment": lambda v: models.create(v, "a"),
        "logged model run": lambda v: models.create("0", "a", source_run_id=v),
        "logged model param": lambda v: models.create("0", "a", params={"p": v}),
        "logged model created": lambda v: models.create("0", "a", created=v),
        "logged model params": lambda v: models.log_params(model, {_new(): v}),
        "logged model tags": lambda v: models.set_tags(model, {"a": v}),
        "logged model status": lambda v: models.set_status(model, "READY", v),
        "model metric": lambda v: metric(value=v),
        "model metric key": lambda v: metric(key=v),
        "model metric step": lambda v: metric(step=v, key="s"),
        "model metric time": lambda v: metric(time=v, key="t"),
        "model metric run": lambda v: metric(run=v, key="r"),
        "model metric dataset": lambda v: metric(name=v, key=_new()),
        "model artifact size": lambda v: models.add_artifacts(model, [("a", v, "0" * 64)]),
        "model artifact path": lambda v: models.add_artifacts(model, [(v, 1, "0" * 64)]),
        "trace time": lambda v: store.traces.add("0", {"type": "info", "trace_id": _new(), "request_time": v}),
        "trace id": lambda v: store.traces.add("0", {"type": "info", "trace_id": v}),
        "trace experiment": lambda v: store.traces.add(v, {"type": "info", "trace_id": _new()}),
        "trace tag": lambda v: store.traces.add("0", {"type": "tag", "trace_id": "t", "key": "k", "value": v}),
        "assessment": lambda v: store.traces.add(
            "0", {"type": "assessment", "trace_id": "t", "assessment": {"assessment_id": "a", "create_time": v}}
        ),
        "span start": lambda v: span(start=v),
        "span name": lambda v: span(name=v),
        "span content": lambda v: span({"name": "root", "attributes": {"a": v}}),
        "imported start": lambda v: imported(type="start", start_time=v),
        "imported tag": lambda v: imported(type="tag", key="a", value=v),
    }


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with an ended run, which is the one that runs are recorded into."""
    made = Store.create(tmp_path / "store")
    current_store.set_store(made.path)
    with fluent.start_run(run_name="ended") as run:
        for step in range(3):
            run.log_metric("loss", 0.5, step)
    yield made
    made.traces.close()


def _contents(root: Path) -> dict[str, int]:
    """All logs with their sizes, and which artifacts there are."""
    found, folders = {}, [str(root)]
    while folders:
        for entry in os.scandir(folders.pop()):
            if entry.is_dir():
                folders.append(entry.path)
            elif entry.name.endswith(".jsonl") or "/artifacts/" in entry.path:
                found[entry.path] = entry.stat().st_size
    return found


def _pour(root: Path, calls: dict[str, Call], values: Sequence[str]) -> None:
    for (name, call), odd in itertools.product(calls.items(), values):
        before = _contents(root)
        try:
            call(ODD[odd])
        except MltrackError as error:
            assert str(error), (name, odd)
            assert _contents(root) == before, f"{name} wrote something of {odd}"
        except Exception as error:
            raise AssertionError(f"{name} of {odd} raises {error!r}") from error


@every_value
def test_a_run_refuses_odd_values_or_stores_what_readers_take(store: Store, odd: Sequence[str]) -> None:
    ended = store.run_ids()[0]
    with fluent.start_run(run_name="odd") as run:
        _pour(store.path, _run_calls(run, ended), odd)
    assert check_store(store.path).findings == []


@every_value
def test_the_rest_of_a_store_refuses_odd_values_or_stores_what_readers_take(store: Store, odd: Sequence[str]) -> None:
    _pour(store.path, _store_calls(store, store.run_ids()[0]), odd)
    store.traces.close()
    assert check_store(store.path).findings == []


TEXTS = ["a\ud800b", "a\0b", "a\nb\r\x1b[0m", "x" * 70_000, "", "12", "é\u2028"]
NUMBERS = [math.nan, math.inf, -math.inf, 5e-324, -0.0, 1e308, float(2**53 + 2)]
INTEGERS = [2**63 - 1, -(2**63), 0, 2**62]


def test_odd_texts_and_numbers_read_back_equal(store: Store) -> None:
    model = store.logged_models.create("0", "m")
    with fluent.start_run(run_name="odd") as run:
        for at, text in enumerate(TEXTS):
            run.log_param(f"p{at}", text)
            run.set_tag(f"t{at}", text)
            run.log({"said": Text(text)}, step=at)
            run.log_input(Dataset(text, str(at), "local", text))
            store.logged_models.set_tags(model.model_id, {f"t{at}": text})
            current_store.set_experiment_tag(f"t{at}", text)
        for step in INTEGERS:
            for value in NUMBERS:
                run.log_metric("value", value, step, timestamp=7)
        for at, value in enumerate(NUMBERS):
            store.logged_models.log_metrics(model.model_id, [ModelMetric("v", value, INTEGERS[at % 4], at, "r")])
    stored, read = store.run(run.run_id), store.logged_models.get(model.model_id)
    assert [stored.params[f"p{at}"] for at in range(len(TEXTS))] == TEXTS
    assert [stored.tags[f"t{at}"] for at in range(len(TEXTS))] == TEXTS
    assert [point.value for point in stored.series("said")] == [Text(text) for text in TEXTS]
    assert [(used.dataset.name, used.dataset.source) for used in stored.datasets] == [(text, text) for text in TEXTS]
    assert [read.tags[f"t{at}"] for at in range(len(TEXTS))] == TEXTS
    assert [store.workspace.get("0").tags[f"t{at}"] for at in range(len(TEXTS))] == TEXTS
    points = stored.metrics("value")
    assert [repr(value) for value in points.column("value").to_pylist()] == [repr(value) for value in NUMBERS] * 4
    assert points.column("step").to_pylist() == [step for step in INTEGERS for _ in NUMBERS]
    assert [repr(metric.value) for metric in read.metrics] == [repr(value) for value in NUMBERS]
    assert check_store(store.path).findings == []
