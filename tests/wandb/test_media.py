"""Images, tables, charts and files of media."""

from __future__ import annotations

import io
import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import mltrack.wandb as wandb
from mltrack.importers.wandb.histograms import histogram_of
from mltrack.values.rich import Histogram
from mltrack.wandb.errors import UnsupportedError
from mltrack.wandb.media_types import Medium


class Tensor:
    """What a torch tensor has: axes in any order, and a way to the host."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array, self.dtype, self.shape = array, array.dtype, array.shape

    def permute(self, *axes: int) -> Tensor:
        return Tensor(self.array.transpose(axes))

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> np.ndarray[Any, Any]:
        return self.array


def pixels(image: wandb.Image) -> np.ndarray[Any, Any]:
    return np.asarray(image.image)


def test_arrays_are_images_by_their_shape() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert wandb.Image(grey).image.mode == "L"
    assert np.array_equal(pixels(wandb.Image(grey[:, :, None])), grey)
    assert wandb.Image(np.zeros((2, 2, 3), np.uint8)).image.mode == "RGB"
    assert wandb.Image(np.zeros((2, 2, 4), np.uint8)).image.mode == "RGBA"
    with pytest.raises(wandb.UsageError, match="shape"):
        wandb.Image(np.zeros((2, 2, 5)))


def test_floats_from_0_to_1_are_scaled_unless_that_is_off() -> None:
    floats = np.array([[0.0, 0.5], [1.0, 0.25]])
    assert pixels(wandb.Image(floats)).tolist() == [[0, 127], [255, 63]]
    assert pixels(wandb.Image(floats, normalize=False)).tolist() == [[0, 0], [1, 0]]
    assert pixels(wandb.Image(floats * 200)).tolist() == [[0, 100], [200, 50]]


def test_a_tensor_has_its_channels_first() -> None:
    array = np.arange(24, dtype=np.uint8).reshape(3, 2, 4)
    assert np.array_equal(pixels(wandb.Image(Tensor(array))), array.transpose(1, 2, 0))


def test_files_and_figures_are_images(tmp_path: Path) -> None:
    wandb.Image(np.full((2, 3), 7, np.uint8)).image.save(tmp_path / "a.png")
    assert pixels(wandb.Image(tmp_path / "a.png")).tolist() == [[7, 7, 7]] * 2
    with pytest.raises(wandb.UsageError, match="is not a file"):
        wandb.Image("https://host/a.png")


def test_boxes_and_masks_are_kept_next_to_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLTRACK_STORE", str(tmp_path / "store"))
    box = {"position": {"minX": np.float32(0.5), "maxX": 1.0, "minY": 0, "maxY": 1}, "class_id": np.int64(1)}
    mask = np.array([[0, 1], [1, 0]])
    with wandb.init(project="p") as run:
        image = wandb.Image(
            np.zeros((2, 2), np.uint8),
            boxes={"predictions": {"box_data": [box], "class_labels": {1: "cat"}}},
            masks={"truth": {"mask_data": mask, "class_labels": {1: "cat"}}},
            classes=wandb.Classes([{"id": 1, "name": "cat"}]),
        )
        run.log({"val/scene": image}, step=3)
        about = run.summary["val/scene"]
    assert run.mltrack_run is not None
    stored = run.mltrack_run.stored()
    files = {artifact.path: artifact for artifact in stored.artifacts}
    kept = json.loads(stored.artifact_path(about["overlays"]).read_text())
    assert about["overlays"].startswith("media/metadata/images/val/scene_3_")
    assert kept["boxes"]["predictions"]["box_data"][0] == {
        "position": {"minX": 0.5, "maxX": 1.0, "minY": 0, "maxY": 1},
        "class_id": 1,
    }
    assert kept["classes"] == [{"id": 1, "name": "cat"}]
    assert next(path for path, file in files.items() if file.sha256 == kept["image_sha256"]).startswith("images/")
    masked = PIL.Image.open(stored.artifact_path(kept["masks"]["truth"]["path"]))
    assert np.asarray(masked).tolist() == mask.tolist()


@pytest.mark.parametrize(
    "options",
    [
        {"boxes": {"predictions": {}}},
        {"masks": {"truth": {}}},
        {"masks": {"truth": {"mask_data": np.zeros((2, 2))}}},
        {"masks": {"truth": {"mask_data": np.full((2, 2), 256)}}},
        {"masks": {"truth": {"mask_data": np.zeros((2, 2, 3), int)}}},
        {"classes": [{"id": 1}]},
    ],
)
def test_what_is_not_boxes_or_masks_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(wandb.UsageError):
        wandb.Image(np.zeros((2, 2), np.uint8), **options)


def test_histograms_count_what_is_finite() -> None:
    found = wandb.Histogram([1, 2, float("nan"), float("inf")], num_bins=2)
    assert (found.histogram, found.bins) == ([1, 1], [1, 1.5, 2])
    with pytest.raises(wandb.UsageError):
        wandb.Histogram([1], num_bins=513)


@pytest.mark.parametrize(
    ("counts", "edges", "kept"),
    [
        ([3], [2.0, 2.0], [3]),
        ([3], [0.0, 0.0], [3]),
        ([1, 2, 3], [0.0, 1.0, 1.0, 2.0], [1, 5]),
        ([1, 2], [0.0, 1.0, 1.0], [3]),
        ([1, 2], [0.0, 1.0, 2.0], [1, 2]),
    ],
)
def test_bins_without_a_width_lose_no_count(counts: list[float], edges: list[float], kept: list[float]) -> None:
    found = histogram_of(counts, edges)
    assert isinstance(found, Histogram)
    assert found.counts.tolist() == kept
    assert (np.diff(found.edges) > 0).all()


def test_tables_are_filled_and_read_by_columns() -> None:
    table = wandb.Table(columns=["a", "b"], data=[[1, "x"]])
    table.add_data(2, "y")
    table.add_column("c", [0.5, 1.5])
    table.add_computed_columns(lambda number, row: {"d": number + row["a"]})
    assert table.columns == ["a", "b", "c", "d"]
    assert table.data == [[1, "x", 0.5, 1], [2, "y", 1.5, 3]]
    assert table.get_column("a") == [1, 2]
    assert table.get_column("c", convert_to="numpy").sum() == 2
    with pytest.raises(wandb.UsageError, match="expects 4 columns"):
        table.add_data(1)
    with pytest.raises(wandb.UsageError, match="no column"):
        table.get_column("z")


def test_a_data_frame_is_a_table() -> None:
    import pandas as pd

    table = wandb.Table(dataframe=pd.DataFrame({"a": [1, 2], "b": ["x", None]}))
    assert (table.columns, table.data[0]) == (["a", "b"], [1, "x"])
    assert table.stored(lambda medium: {}).rows[1] == [2, None]
    assert table.get_dataframe().shape == (2, 2)


def test_charts_are_tables_of_what_they_show() -> None:
    chart = wandb.plot.confusion_matrix(y_true=[0, 1, 1], preds=[0, 1, 0], class_names=["no", "yes"])
    assert chart.table.data == [["no", "no", 1], ["no", "yes", 0], ["yes", "no", 1], ["yes", "yes", 1]]
    lines = wandb.plot.line_series(xs=[0, 1], ys=[[1, 2], [3, 4]], keys=["a", "b"])
    assert lines.table.data == [[0, "a", 1], [1, "a", 2], [0, "b", 3], [1, "b", 4]]
    with pytest.raises(wandb.UsageError):
        wandb.plot.line_series(xs=[0], ys=[[1]], keys=["a", "b"])
    with pytest.raises(wandb.Error):
        wandb.plot.bar([[1]], "a", "b")  # type: ignore[arg-type]  # that is what is tried


@pytest.mark.slow
def test_curves_are_tables_by_class() -> None:
    probabilities = [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.6, 0.4]]
    roc = wandb.plot.roc_curve([0, 1, 1, 0], probabilities, labels=["no", "yes"]).table
    assert roc.columns == ["class", "fpr", "tpr"]
    assert roc.data[0] == ["no", 0.0, 0.0]
    assert roc.data[-1] == ["yes", 1.0, 1.0]
    precision = wandb.plot.pr_curve([0, 1, 1, 0], probabilities, interp_size=3, classes_to_plot=[1]).table
    assert precision.data == [[1, 1.0, 1.0], [1, 1.0, 0.5], [1, 1.0, 0.0]]


def test_media_are_files_named_by_key_step_and_content(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"film")
    (tmp_path / "scene.obj").write_bytes(b"v 0 0 0")
    found: list[Medium] = [
        wandb.Html("<p>x</p>"),
        wandb.Html(io.StringIO("<p>y</p>")),
        wandb.Video(str(tmp_path / "clip.mp4"), caption="a clip"),
        wandb.Object3D(str(tmp_path / "scene.obj")),
        wandb.Object3D(np.zeros((2, 3))),
    ]
    paths = [medium.file().path("deep/key", 7) for medium in found]
    assert [path.split("/key_7_")[0] for path in paths] == [
        "media/html/deep",
        "media/html/deep",
        "media/videos/deep",
        "media/object3D/deep",
        "media/object3D/deep",
    ]
    assert [path[path.index(".") :] for path in paths] == [".html", ".html", ".mp4", ".obj", ".pts.json"]
    assert found[2].file().about["caption"] == "a clip"


def test_samples_become_a_wav_file() -> None:
    sound = wandb.Audio(np.array([[0.0, 1.0], [-1.0, 2.0]]), sample_rate=8000)
    with wave.open(io.BytesIO(sound.file().data)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getnframes()) == (2, 8000, 2)
        assert np.frombuffer(file.readframes(2), "<i2").tolist() == [0, 32767, -32767, 32767]
    with pytest.raises(wandb.UsageError, match="sample_rate"):
        wandb.Audio(np.zeros(3))


@pytest.mark.parametrize("shape", [(3, 3, 4, 6), (3, 1, 4, 6), (2, 3, 3, 4, 3)])
def test_frames_of_a_video_become_a_gif(shape: tuple[int, ...]) -> None:
    frames = np.zeros(shape)
    frames[..., 1, :, :, :] = 1.0  # of three frames the one in the middle
    with PIL.Image.open(io.BytesIO(wandb.Video(frames, fps=10).file().data)) as image:
        assert (image.format, image.size, image.n_frames, image.info["duration"]) == ("GIF", (6, 4), 3, 100)  # type: ignore[attr-defined]
        brightness = [image.seek(at) or np.asarray(image.convert("L")).mean() for at in range(3)]  # type: ignore[func-returns-value]
    assert brightness == [0, 255, 0]


def test_frames_that_are_no_gif_are_refused_with_what_to_do() -> None:
    with pytest.raises(UnsupportedError, match="writes no mp4"):
        wandb.Video(np.zeros((2, 3, 4, 4)), format="mp4")
    with pytest.raises(wandb.UsageError, match="shape"):
        wandb.Video(np.zeros((2, 4, 4)))
