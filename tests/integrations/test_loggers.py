"""The handler of Python's logging, and TensorBoard's SummaryWriter, on a run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import mltrack
from mltrack.errors import InvalidPathError, UsageError
from mltrack.integrations.logging import RunHandler
from mltrack.integrations.tensorboard import SummaryWriter
from mltrack.store import Store


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> Iterator[Store]:
    mltrack.set_store(tmp_path / "store")
    yield mltrack.get_store()
    mltrack.set_store(None)


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("tests.of.the.handler")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield logger
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


def test_records_are_lines_of_an_artifact_of_the_run_that_was_active(store: Store, logger: logging.Logger) -> None:
    logger.addHandler(RunHandler())
    logger.info("before any run")
    for name in ("one", "two"):
        with mltrack.start_run(run_name=name) as run:
            logger.info("epoch %d of %s: \ud800", 3, name)
            text = (run.folder.artifacts / "logs" / "python.log").read_text()
            assert text.endswith(f"INFO tests.of.the.handler: epoch 3 of {name}: \\ud800\n"), "readable while it runs"
    logger.info("after all runs")
    for stored in store.runs():
        assert [artifact.path for artifact in stored.artifacts] == ["logs/python.log"]
        assert len((stored.folder.artifacts / "logs" / "python.log").read_text().splitlines()) == 1


def test_a_traceback_is_written_and_another_file_can_be_named(store: Store, logger: logging.Logger) -> None:
    with mltrack.start_run() as run:
        logger.addHandler(RunHandler(run, artifact_file="out.txt", level=logging.ERROR))
        logger.info("not important")
        try:
            raise ValueError("broken")
        except ValueError:
            logger.exception("it failed")
    text = (run.folder.artifacts / "out.txt").read_text()
    assert "ERROR" in text
    assert "ValueError: broken" in text
    assert "not important" not in text


def test_a_file_outside_the_run_is_refused() -> None:
    with pytest.raises(InvalidPathError):
        RunHandler(artifact_file="../../escape.log")


def test_a_summary_writer_logs_scalars_images_histograms_texts_and_hparams(store: Store) -> None:
    with SummaryWriter("runs/first", comment=" again") as writer:
        for step in range(3):
            writer.add_scalar("loss/train", np.float32(step), step, walltime=1000.5 + step)
        writer.add_scalars("accuracy", {"train": 0.5, "valid": 0.25}, 7)
        writer.add_histogram("weights", np.arange(100.0), 1, bins="tensorflow")
        writer.add_image("sample", np.zeros((3, 4, 5), np.uint8), 2)
        writer.add_image("gray", np.zeros((4, 5), np.uint8), 2, dataformats="HW")
        writer.add_text("note", "hello", 1)
        writer.add_hparams({"lr": 0.1, "net": {"depth": 2}}, {"best": 0.75})
        writer.flush()
    (run,) = store.runs()
    assert (run.info.run_name, run.info.status) == ("runs/first again", "FINISHED")
    losses = run.metrics("loss/train")
    assert losses.column("value").to_pylist() == [0.0, 1.0, 2.0]
    assert run.summaries["loss/train"].time == 1_002_500_000_000
    assert run.summaries["accuracy/valid"].step == 7
    assert run.summaries["best"].value == 0.75
    assert run.params == {"lr": "0.1", "net.depth": "2"}
    assert sum("sample" in artifact.path for artifact in run.artifacts) >= 1


def test_a_summary_writer_joins_the_active_run_and_does_not_end_it() -> None:
    with mltrack.start_run() as run:
        with SummaryWriter() as writer:
            writer.add_scalar("a", 1, 0)
        assert not run.ended
    assert run.stored().summaries["a"].count == 1


def test_what_has_no_place_is_refused_by_name() -> None:
    writer = SummaryWriter()
    with pytest.raises(UsageError, match="add_embedding"):
        writer.add_embedding(np.zeros((2, 2)))
    with pytest.raises(AttributeError):
        writer.nonsense  # noqa: B018
    with pytest.raises(UsageError, match="axes 'CHW'"):
        writer.add_image("flat", np.zeros((4, 5)))
