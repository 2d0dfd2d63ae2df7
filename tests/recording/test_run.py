"""The record API: MLflow's meanings, misuse refused with nothing stored, and everything read back."""

from __future__ import annotations

import asyncio
import math
import os
import threading
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import mltrack
from mltrack.errors import InvalidMetricError, NotFoundError, ParamConflictError, RunStateError, UsageError
from tests.support.recording import all_points, bits, stored


@pytest.fixture(params=["mmap", "write"])
def run(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> mltrack.Run:
    """An open run, by either way of writing points."""
    monkeypatch.setenv("MLTRACK_JOURNAL", request.param)
    mltrack.set_store(tmp_path / "s")
    return mltrack.start_run()


def test_points_are_stored_with_step_and_time(run: mltrack.Run) -> None:
    run.log_metric("a", 1.5)
    run.log_metric("größe/模型 🙂", 2, -7, timestamp=1_700_000_000_123)
    run.log_metrics({"a": math.nan, "b": -math.inf}, 3, timestamp=5)
    run.log_series("s", np.array([0.1, 0.2], np.float32), steps=[4, 2], times=[7, 6])
    first, *rest = all_points(run.stored())
    assert (first[0], first[1], first[3]) == ("a", 0, bits(1.5))
    assert abs(first[2] - run.info.start_time * 1_000_000) < 60e9
    assert rest == [
        ("größe/模型 🙂", -7, 1_700_000_000_123_000_000, bits(2.0)),
        ("a", 3, 5_000_000, bits(math.nan)),
        ("b", 3, 5_000_000, bits(-math.inf)),
        ("s", 4, 7, bits(float(np.float32(0.1)))),
        ("s", 2, 6, bits(float(np.float32(0.2)))),
    ]


class Tensor:
    """What torch's tensors have: ``float`` warns of gradients, ``item`` is there once they are detached."""

    def __init__(self, value: float, detached: bool = False) -> None:
        self.value, self.detached = value, detached

    def __float__(self) -> float:
        raise RuntimeError("it needs a gradient")

    def detach(self) -> Tensor:
        return Tensor(self.value, True)

    def item(self) -> float:
        assert self.detached
        return self.value


class EagerTensor:
    """What TensorFlow's have."""

    def numpy(self) -> Any:
        return np.array([0.5], np.float32)


@pytest.mark.parametrize(
    "value",
    [
        "0.5",
        " 5e-1\n",
        b"0.5",
        np.str_("0.5"),
        np.array(0.5),
        np.array([0.5], np.float16),
        np.array([[[0.5]]]),
        np.array(["0.5"]),
        np.float32(0.5),
        pd.Series([0.5], index=[7]),
        Decimal("0.5"),
        Fraction(1, 2),
        Tensor(0.5),
        EagerTensor(),
    ],
    ids=lambda value: f"{type(value).__name__}-{value!r}"[:40],
)
def test_a_metric_value_is_anything_that_represents_one_number(run: mltrack.Run, value: Any) -> None:
    run.log_metric("a", value)
    run.log_metrics({"a": value, "b": True})
    run.log({"a": value})
    assert [bits_ for key, _, _, bits_ in all_points(run.stored()) if key == "a"] == [bits(0.5)] * 3


@pytest.mark.parametrize(
    "step", [3.0, np.float64(3), np.float16(3), np.array(3), Decimal(3), Fraction(6, 2), np.int8(3)]
)
def test_a_step_is_any_whole_number(run: mltrack.Run, step: Any) -> None:
    run.log_metric("a", 1.0, step)
    run.log_metrics({"a": 1.0}, step)
    run.log({"a": 1.0}, step)
    run.log({"a": 1.0})
    run.log_series("a", [1.0], steps=[step])
    assert run.metrics("a").column("step").to_pylist() == [3, 3, 3, 4, 3]


@pytest.mark.parametrize("kind", [float, np.float64, Decimal, Fraction])
def test_a_time_may_have_a_part_of_a_millisecond(run: mltrack.Run, kind: Any) -> None:
    run.log_metric("a", 1.0, timestamp=kind(1_700_000_000_123.25))
    run.log_metrics({"a": 1.0}, timestamp=kind(1_700_000_000_123))
    assert [time for _, _, time, _ in all_points(run.stored())] == [
        1_700_000_000_123_250_000,
        1_700_000_000_123_000_000,
    ]


def test_log_counts_steps_by_itself(run: mltrack.Run) -> None:
    for step in (None, None, 10, None):
        run.log({"a": 1.0, "b": 2.0}, step)
    assert run.metrics("a").column("step").to_pylist() == [0, 1, 10, 11]


def test_misuse_raises_at_once_and_stores_nothing(run: mltrack.Run) -> None:
    any_run: Any = run
    calls: list[Callable[[], object]] = [
        lambda: any_run.log_metric("a", "one"),
        lambda: any_run.log_metric("a", np.zeros(2)),
        lambda: any_run.log_metric("a", [1.0]),
        lambda: any_run.log_metric("a", 1j),
        lambda: any_run.log_metric("a", 10**400),
        lambda: any_run.log_metric("", 1.0),
        lambda: any_run.log_metric(["a"], 1.0),
        lambda: mltrack.log_metric(["a"], 1.0, timestamp=5),  # type: ignore[arg-type]
        lambda: any_run.log_metric("a", 1.0, 1.5),
        lambda: any_run.log_metric("a", 1.0, "3"),
        lambda: any_run.log_metric("a", 1.0, math.nan),
        lambda: any_run.log_metric("a", 1.0, math.inf),
        lambda: any_run.log_metric("a", 1.0, 2.0**63),
        lambda: any_run.log_metric("a", 1.0, timestamp="now"),
        lambda: any_run.log_metric("a", 1.0, timestamp=math.nan),
        lambda: any_run.log_metric("a", 1.0, timestamp=1 << 62),
        lambda: any_run.log_metrics({"a": 1.0, "b": None}),
        lambda: any_run.log({"a": 1.0, 5: 1.0}),
        lambda: any_run.log_series("a", ["x"]),
        lambda: any_run.log_series("", [1.0]),
    ]
    for call in calls:
        with pytest.raises(InvalidMetricError) as caught:
            call()
        assert caught.value.hint
        assert "\n" not in str(caught.value)
    for call in (
        lambda: any_run.log_param("", 1),
        lambda: any_run.log_params({"ok": 1, 5: 1}),
        lambda: any_run.set_tags({"ok": 1, None: 1}),
        lambda: any_run.delete_tag(""),
        lambda: any_run.end("DONE"),
    ):
        with pytest.raises(UsageError):
            call()
    found = run.stored()
    assert all_points(found) == []
    assert found.params == {}
    assert "ok" not in found.tags


def test_a_param_cannot_change_and_a_tag_can(run: mltrack.Run) -> None:
    assert run.log_param("lr", 0.1) == 0.1
    run.log_params({"lr": "0.1", "größe": [1, 2]})
    with pytest.raises(ParamConflictError, match=r"'lr' is '0\.1' and can't become '0\.2'"):
        run.log_params({"new": 1, "lr": 0.2})
    assert run.data.params == {"lr": "0.1", "größe": "[1, 2]"}
    run.set_tags({"t": 1, "u": None})
    run.set_tag("t", 2)
    run.delete_tag("u")
    run.delete_tag("never there")
    assert {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")} == {"t": "2"}


def test_datasets_are_kept_in_order_with_their_context_and_tags(run: mltrack.Run) -> None:
    train = mltrack.Dataset("größe", "1", "http", '{"url": "https://x/y"}', schema="{}", profile='{"rows": 5}')
    test = mltrack.Dataset("größe", "2", "local", '{"uri": "y"}')
    run.log_input(train, "training", {"fold": 3})
    run.log_input(test)
    run.log_input(train, "again")
    assert run.stored().datasets == [
        mltrack.DatasetInput(train, {"fold": "3", "mlflow.data.context": "training"}),
        mltrack.DatasetInput(test),
    ]
    assert [used.context for used in run.stored().datasets] == ["training", None]


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_an_mlflow_dataset_is_stored_as_by_mlflow(run: mltrack.Run) -> None:
    numpy_dataset = pytest.importorskip("mlflow.data.numpy_dataset", reason="mlflow is not installed")
    dataset = numpy_dataset.from_numpy(np.zeros((2, 3)), source="https://x/y.npy", name="zeros")
    run.log_input(dataset, context="test")
    run.log_input(dataset._to_mlflow_entity(), context="the same")
    [used] = run.stored().datasets
    theirs = dataset._to_mlflow_entity()
    for name in ("name", "digest", "source_type", "source", "schema", "profile"):
        assert getattr(used.dataset, name) == getattr(theirs, name)
    assert used.dataset.schema and used.dataset.profile
    assert used.context == "test"


def test_what_is_not_a_dataset_is_refused_and_nothing_is_stored(run: mltrack.Run) -> None:
    wrong: list[Any] = [None, "data.csv", np.zeros(3), mltrack.Dataset("d", "1", "local", {"a": 1})]  # type: ignore[arg-type]
    for value in wrong:
        with pytest.raises(UsageError, match=r"not a dataset|no dataset is given") as error:
            run.log_input(value)
        assert error.value.hint
    context: Any = 5
    with pytest.raises(UsageError, match="context 5"):
        run.log_input(mltrack.Dataset("d", "1", "local", "{}"), context)
    assert run.stored().datasets == []


def test_an_ended_run_refuses_everything(run: mltrack.Run) -> None:
    run.log_metric("a", 1.0)
    run.end()
    run.end()
    for call in (
        lambda: run.log_metric("a", 1.0),
        lambda: run.log_metrics({"a": 1.0}),
        lambda: run.log({"a": 1.0}),
        lambda: run.log_series("a", [1.0]),
        lambda: run.log_param("p", 1),
        lambda: run.set_tag("t", 1),
        lambda: run.delete_tag("t"),
        lambda: run.log_input(mltrack.Dataset("d", "1", "local", "{}")),
    ):
        with pytest.raises(RunStateError, match="has ended"):
            call()
    assert len(all_points(run.stored())) == 1
    assert "ended" in repr(run)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "FINISHED"),
        (ValueError(), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (asyncio.CancelledError(), "KILLED"),
        (SystemExit(), "FINISHED"),
        (SystemExit(0), "FINISHED"),
        (SystemExit(3), "FAILED"),
        (SystemExit("words"), "FAILED"),
    ],
    ids=repr,
)
def test_the_with_block_ends_the_run(run: mltrack.Run, error: BaseException | None, status: str) -> None:
    try:
        with run:
            run.log_metric("a", 1.0)
            if error is not None:
                raise error
    except (ValueError, KeyboardInterrupt, SystemExit, asyncio.CancelledError) as caught:
        assert caught is error
    info = run.info
    assert (info.status, info.live, info.crashed) == (status, False, False)
    assert info.end_time is not None
    assert info.end_time >= info.start_time


def test_a_resumed_run_keeps_its_data(run: mltrack.Run) -> None:
    run.log_param("p", 1)
    run.log_metric("a", 1.0, 1)
    run.set_tag("t", "first")
    run.end("FAILED")
    with mltrack.start_run(run.run_id, tags={"again": 1}) as again:
        assert (again.run_id, again.name) == (run.run_id, run.name)
        assert again.info.status == "RUNNING"
        with pytest.raises(ParamConflictError):
            again.log_param("p", 2)
        again.log_param("p", "1")
        again.log_metric("a", 2.0, 2)
        again.set_tag("t", "second")
    found = again.stored()
    assert found.info.status == "FINISHED"
    assert found.params == {"p": "1"}
    assert (found.tags["t"], found.tags["again"]) == ("second", "1")
    assert found.metrics("a").column("step").to_pylist() == [1, 2]
    for start in (run.run_id[:8], run.name):
        mltrack.start_run(start).end()
    with pytest.raises(NotFoundError):
        mltrack.start_run("f" * 32)


def test_a_deleted_run_is_not_resumed(run: mltrack.Run) -> None:
    run.end()
    mltrack.delete_run(run.run_id)
    with pytest.raises(RunStateError, match="is deleted"):
        mltrack.start_run(run.run_id)


@pytest.mark.slow
def test_threads_log_to_one_run_and_nothing_is_lost(tmp_path: Path) -> None:
    mltrack.set_store(tmp_path / "s")
    run = mltrack.start_run()

    def work(thread: int) -> None:
        for step in range(20_000):
            mltrack.log_metric(f"t{thread}", step, step)  # the module's functions find the process's run
            if step % 2000 == 0:
                run.log_param(f"p{thread} {step}", step)
                run.log_text("x", f"{thread}/{step}.txt")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run.end()
    points = all_points(stored(tmp_path / "s", run.run_id))
    assert len(points) == 8 * 20_000
    for n in range(8):
        assert [step for key, step, _, _ in points if key == f"t{n}"] == list(range(20_000))
    found = run.stored()
    assert len(found.params) == len(found.artifacts) == 80


@pytest.mark.slow
def test_thirty_thousand_metric_names(tmp_path: Path) -> None:
    mltrack.set_store(tmp_path / "s")
    with mltrack.start_run() as run:
        for n in range(30_000):
            run.log_metric(f"layer.{n}/größe", n, n)
        live = run.stored()
        assert live.summaries["layer.27777/größe"].value == 27_777.0
    found = run.stored()
    assert len(found.summaries) == 30_000
    assert found.metrics("layer.29999/größe").column("step").to_pylist() == [29_999]


def test_text_that_is_not_unicode_is_kept_or_refused_but_harms_nothing(run: mltrack.Run) -> None:
    odd = os.fsdecode(b"caf\xe9")  # as a file name on the command line may come
    run.log_param("path", odd)
    run.set_tag("path", odd)
    with pytest.raises(InvalidMetricError):
        run.log_metric(odd, 1.0)
    run.log_metric("a", 1.0)
    run.end()
    assert run.data.params["path"] == odd
    for path in run.stored().folder.events.iterdir():
        path.read_text(encoding="utf-8")


def test_flush_makes_everything_durable(run: mltrack.Run) -> None:
    run.log_metric("a", 1.0)
    run.flush()
    assert run.lost == 0
    assert len(all_points(run.stored())) == 1
