"""Dicts, figures, images and tables, in the layouts that MLflow reads."""

from __future__ import annotations

import enum
import io
import json
import logging
import math
import re
import threading
import uuid
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import mltrack
from mltrack.errors import UsageError
from mltrack.values.media import dict_text, figure_bytes, image_bytes, image_name, image_place, thumbnail

PIL = pytest.importorskip("PIL.Image", reason="Pillow is not installed")


def test_dicts_are_json_or_yaml_by_the_name() -> None:
    value = {"größe": [1, 2.5, None, True], "array": np.arange(2), "day": date(2026, 1, 2), "path": Path("a/b")}
    assert json.loads(dict_text(value, "a.json")) == {
        "größe": [1, 2.5, None, True],
        "array": [0, 1],
        "day": "2026-01-02",
        "path": "a/b",
    }
    assert dict_text({"ü": [1]}, "a.yml") == dict_text({"ü": [1]}, "a.yaml") == "ü:\n- 1\n"
    holds_itself: list[Any] = []
    holds_itself.append(holds_itself)
    unusable: list[tuple[Any, str]] = [(holds_itself, "a.json"), ({(1, 2): 3}, "a.json"), (threading.Lock(), "a.yaml")]
    for thing, name in unusable:
        with pytest.raises(UsageError, match=name):
            dict_text(thing, name)


class Mode(enum.Enum):
    FAST = 1


VALUES = {
    "enum": Mode.FAST,
    "decimal": Decimal("0.1"),
    "set": {1},
    "type": int,
    "path": Path("a/b"),
    "date": date(2026, 1, 2),
    "datetime": datetime(2026, 1, 2, 3, 4, 5, 6),
    "bytes": b"a",
    "complex": 1j,
    "range": range(2),
    "uuid": uuid.UUID(int=5),
    "nan": math.nan,
    "np.float64": np.float64(0.5),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_in_a_dict_of_settings_are_written_as_mlflow_writes_them(name: str) -> None:
    value = {"b": VALUES[name], "a": [VALUES[name]]}
    assert dict_text(value, "a.json") == json.dumps(value, indent=2, default=str)
    if name != "np.float64":
        loaded = yaml.unsafe_load(dict_text(value, "a.yaml"))
        theirs = yaml.unsafe_load(yaml.dump(value, indent=2, default_flow_style=False))
        assert repr(loaded) == repr(theirs) or loaded == theirs


@pytest.mark.parametrize(
    ("value", "plain"),
    [(np.float32(0.5), 0.5), (np.int64(3), 3), (np.bool_(True), True), (np.arange(2), [0, 1]), (np.array(5), 5)],
    ids=repr,
)
@pytest.mark.parametrize("name", ["a.json", "a.yaml"])
def test_numpy_numbers_are_numbers_in_a_dict(value: Any, plain: Any, name: str) -> None:
    assert yaml.safe_load(dict_text({"a": value, "b": [value]}, name)) == {"a": plain, "b": [plain]}


def test_figures_are_stored_in_the_format_of_the_name() -> None:
    figure = pytest.importorskip("matplotlib.figure", reason="matplotlib is not installed").Figure()
    figure.subplots().plot([1, 2, 3])
    assert figure_bytes(figure, "a.png", {}).startswith(b"\x89PNG")
    assert figure_bytes(figure, "a", {}).startswith(b"\x89PNG")
    assert b"<svg" in figure_bytes(figure, "a.svg", {})
    assert figure_bytes(figure, "a.pdf", {}).startswith(b"%PDF")
    with pytest.raises(UsageError, match=r"a\.xyz"):
        figure_bytes(figure, "a.xyz", {})
    with pytest.raises(UsageError, match="is not a figure"):
        figure_bytes("text", "a.png", {})


def test_plotly_figures_are_html_pages_that_load_plotly(caplog: pytest.LogCaptureFixture) -> None:
    figure = pytest.importorskip("plotly.graph_objects", reason="plotly is not installed").Figure()
    page = figure_bytes(figure, "a.html", {"auto_open": False}).decode()
    assert "plotly" in page
    assert len(page) < 100_000  # without the library itself
    assert len(figure_bytes(figure, "a.html", {"include_plotlyjs": True})) > 1_000_000
    with pytest.raises(UsageError, match=r"a\.xyz"):
        figure_bytes(figure, "a.xyz", {})


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 5), np.uint8),
        np.full((4, 5, 1), 255, np.int64),
        np.zeros((4, 5, 3), np.float32),
        np.ones((4, 5, 4)),
        np.ones((4, 5), bool),
        [[0, 255], [128, 3]],
    ],
    ids=lambda image: str(np.asarray(image).dtype) + str(np.asarray(image).shape),
)
def test_arrays_are_images(image: Any) -> None:
    found = PIL.open(io.BytesIO(image_bytes(image, "a.png")))
    array = np.asarray(image)
    assert found.size == (array.shape[1], array.shape[0])
    scale = 255 if array.dtype.kind in "fb" else 1
    assert np.asarray(found).ravel().tolist() == (array.astype(float) * scale).ravel().tolist()


@pytest.mark.parametrize(
    "image",
    [np.zeros(5), np.zeros((2, 2, 2)), np.full((2, 2), -1), np.full((2, 2), 256), "x", [[]]],
    ids=repr,
)
def test_what_is_not_an_image_is_refused(image: Any) -> None:
    with pytest.raises(UsageError, match=r"a\.png"):
        image_bytes(image, "a.png")
    with pytest.raises(UsageError, match="not an image format"):
        image_bytes(np.zeros((2, 2)), "a.xyz")
    with pytest.raises(UsageError):
        image_bytes(np.zeros((2, 2, 4)), "a.jpg")  # no transparency there


@pytest.mark.parametrize(
    ("pixels", "stored"),
    [
        ([[-1.0, 0.0], [0.5, 3.0]], [[0, 64], [96, 255]]),
        ([[0.0, 255.0], [51.0, 102.0]], [[0, 255], [51, 102]]),
        ([[7.0, 7.0]], [[0, 0]]),
        ([[np.nan, 1.0]], [[0, 255]]),
        ([[np.inf, -np.inf, 5.0, 1.0]], [[255, 0, 255, 0]]),
        ([[np.inf, np.nan]], [[255, 0]]),
    ],
    ids=str,
)
def test_floats_outside_0_to_1_are_scaled_with_a_warning(
    pixels: Any, stored: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "mltrack"):
        found = PIL.open(io.BytesIO(image_bytes(np.array(pixels), "a.png")))
    assert np.asarray(found).tolist() == stored
    finite = [pixel for row in pixels for pixel in row if math.isfinite(pixel)]
    assert bool(caplog.records) == any(not 0 <= pixel <= 1 for pixel in finite)


def test_images_of_mlflow_and_of_mltrack_are_images() -> None:
    from mlflow import Image

    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for image in (Image(array), mltrack.Image(array), PIL.fromarray(array)):
        assert np.asarray(PIL.open(io.BytesIO(image_bytes(image, "a.png")))).tolist() == array.tolist()


def test_image_series_are_named_as_mlflow_looks_for_them() -> None:
    assert image_name("a.png", None, None, 5) == "a.png"
    name = image_name(None, "val/sample", 3, 5)
    assert re.fullmatch(r"images/val~sample\+step\+3\+timestamp\+5\+[0-9a-f]{32}\.png", name)
    assert image_place(name) == ("val/sample", 3, 5)
    assert image_place("images/val#sample%step%-3%timestamp%5%0a.png") == ("val/sample", -3, 5)
    for other in (
        "a.png",
        "images/a.png",
        name.replace(".png", "+compressed.webp"),
        "images/a+step+1%timestamp+5+0.png",
    ):
        assert image_place(other) is None
    for file, key in ((None, None), ("a", "b"), (None, "a%b"), (None, "ü")):
        with pytest.raises(UsageError):
            image_name(file, key, 0, 0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_a_series_of_images_has_thumbnails(mode: str) -> None:
    buffer = io.BytesIO()
    image = PIL.new(mode, (600, 300))
    image.save(buffer, "png" if mode != "CMYK" else "tiff")
    data, name = thumbnail(buffer.getvalue(), "images/a+step+0+timestamp+5+0.png")
    assert name == "images/a+step+0+timestamp+5+0+compressed.webp"
    assert PIL.open(io.BytesIO(data)).size == (256, 128)


def test_a_run_stores_every_kind_of_media(tmp_path: Path) -> None:
    mltrack.set_store(tmp_path / "s")
    with mltrack.start_run() as run:
        run.log_dict({"a": 1}, "d.json")
        run.log_image(np.zeros((3, 3)), "i.png")
        run.log_image(np.zeros((3, 3)), key="series", step=1)
        run.log_table({"a": [1]}, "t.json")
        run.log_table({"a": [2]}, "t.json")
        run.log_table(pd.DataFrame({"a": [1]}), "t.parquet")
        run.log_text("ü", "t.txt")
    stored = mltrack.get_run(run.run_id)
    assert [artifact.path for artifact in stored.artifacts if "+" not in artifact.path] == [
        "d.json",
        "i.png",
        "t.json",
        "t.parquet",
        "t.txt",
    ]
    assert json.loads(stored.artifact_path("t.json").read_bytes())["data"] == [[1], [2]]
    assert stored.artifact_path("t.txt").read_bytes() == "ü".encode()
    tables = [{"path": name, "type": "table"} for name in ("t.json", "t.parquet")]
    assert json.loads(stored.tags["mlflow.loggedArtifacts"]) == tables  # each once, as MLflow lists them
    assert stored.tags["mlflow.loggedImages"] == "True"
