"""Event files: as TensorBoard reads them, torn, damaged and growing."""

from __future__ import annotations

import json
import math
import random
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltrack.importers.batches import columns_of
from mltrack.importers.engine import import_source
from mltrack.importers.findings import Findings
from mltrack.importers.kinds import kind_of
from mltrack.importers.png_image import PngImage
from mltrack.importers.source import SourceRun
from mltrack.importers.tfevents.crc32c import crc32c, masked_crcs
from mltrack.importers.tfevents.event_source import EventSource
from mltrack.store import Store
from mltrack.values.rich import Histogram, Table, Text
from tests.support.event_sources import frames, record, scalar, unpack
from tests.support.mutations import mutated, read_whole

Points = dict[str, list[tuple[int, int, float]]]

NAME = "events.out.tfevents.1700000000.host"


def points_of(run: SourceRun) -> Points:
    """Time in ns, step and value by metric, in the order in which they are given."""
    found: Points = {}
    for batch in run.points():
        columns = columns_of(batch)
        for code, time, step, value in zip(
            columns.codes.tolist(), columns.times.tolist(), columns.steps.tolist(), columns.values.tolist(), strict=True
        ):
            found.setdefault(columns.keys[code], []).append((time, step, value))
    return found


def runs_of(path: Path) -> tuple[dict[str, SourceRun], Findings]:
    findings = Findings()
    return {run.name: run for run in EventSource(path, findings).runs()}, findings


def ns_of(wall: float) -> int:
    return round(math.floor(wall)) * 10**9 + round((wall - math.floor(wall)) * 1e9)


# --- what the real programs wrote ---


def test_every_scalar_is_as_tensorboard_reads_it(tmp_path: Path) -> None:
    runs, findings = runs_of(unpack(tmp_path))
    read = json.loads((tmp_path / "read.json").read_text())
    assert runs.keys() == read.keys()
    compared = 0
    for name, tags in read.items():
        mine = points_of(runs[name])
        assert mine.keys() == tags.keys()
        for tag, events in tags.items():
            expected = [(ns_of(wall), step, repr(np.float64(float(value)))) for wall, step, value in events]
            assert [(time, step, repr(np.float64(value))) for time, step, value in mine[tag]] == expected
            compared += len(expected)
    assert (compared, findings.problems) == (1409, ())


def test_float32_is_kept_as_the_same_number(tmp_path: Path) -> None:
    runs, _ = runs_of(unpack(tmp_path))
    values = [value for _, _, value in points_of(runs["torch"])["odd values"]]
    single = [float(np.float32(value)) for value in (0.1, 0.0, -0.0, math.nan, math.inf, -math.inf, 1e-45, 3.4e38)]
    assert list(map(repr, values)) == list(map(repr, single))


def test_hyperparameters_folders_and_files_come_along(tmp_path: Path) -> None:
    runs, _ = runs_of(unpack(tmp_path))
    trial, parent = runs["torch/trial"], runs["torch"]
    assert trial.params == {"lr": "0.1", "depth": "3", "name": "größe", "bias": "1"}
    assert (trial.status, trial.tags["mlflow.parentRunId"]) == ("FINISHED", parent.source_id)
    assert parent.params == {"batch_size": "32", "model/depth": "4"}
    assert {file.path: file.size for file in parent.files()} == {"checkpoints/last.ckpt": 1024, "hparams.yaml": 33}
    assert {run.experiment for run in runs.values()} == {"runs"}


@pytest.mark.parametrize("name", ["torch", "x"])
def test_histograms_images_and_texts_are_what_was_logged(tmp_path: Path, name: str) -> None:
    runs, _ = runs_of(unpack(tmp_path))
    values = {(value.key, value.step): value.value for value in runs[name].values()}
    assert len(values) == 12
    for step in range(3):
        weights = values["weights", step]
        assert isinstance(weights, Histogram)
        logged = np.linspace(-1, 1 + step, 500) ** 3
        assert weights.counts.sum() == 500
        assert weights.edges[0] <= logged.min() < logged.max() <= weights.edges[-1]
        below = np.searchsorted(np.sort(logged), weights.edges[1:-1], side="right")
        assert np.abs(np.cumsum(weights.counts)[:-1] - below).max() <= 1  # a value on an edge may be on either side
        constant = values["constant", step]
        assert isinstance(constant, Histogram)
        assert constant.counts.sum() == 5
        image = values["pixels", step]
        assert isinstance(image, PngImage)
        pixels = (np.arange(3 * 8 * 6) % 256).astype(np.uint8).reshape(3, 8, 6) + step
        assert (image.to_array() == pixels.transpose(1, 2, 0)).all()
        assert values["notes/text_summary", step] == Text(f"step **{step}** größe")


def test_what_tensorflow_2_writes_as_tensors_is_read(tmp_path: Path) -> None:
    runs, findings = runs_of(unpack(tmp_path))
    values = {(value.key, value.step): value.value for value in runs["plugins"].values()}
    for step in (1, 2):
        assert values["buckets", step] == Histogram.from_counts([3.0, 4.0], [0.0, 1.0, 2.0])
        assert values["words", step] == Table([["a", "b"], ["c", "d"]], ["0", "1"])
        assert isinstance(values["picture", step], PngImage)
    files = {file.path: file.open().read() for file in runs["plugins"].files()}
    assert files == {
        "media/sound/1_0.wav": b"RIFF0000WAVE",
        "media/sound/2_0.wav": b"RIFF0000WAVE",
        "graphs/graph_def_0.pb": b"\x0a\x00",
    }
    assert findings.omissions == ("events of TensorBoard: value of the plugin pr_curves: 1",)


def test_a_copy_elsewhere_and_a_folder_named_alone_are_the_same_runs(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    (tmp_path / "a").mkdir()
    import_source(store, unpack(tmp_path / "a"))
    (tmp_path / "b").mkdir()
    copy = unpack(tmp_path / "b").rename(tmp_path / "b" / "renamed")
    assert import_source(store, copy / "torch").created == 0
    assert len(list(store.runs())) == 9


# --- torn, damaged, growing ---


def whole_points(data: bytes) -> int:
    """How many scalars the whole records of a file hold, read from a copy that ends with the last one."""
    return sum(data[start:end].count(b"merged/") for start, end in frames(data))


@pytest.mark.parametrize("first", [range(600), pytest.param(range(600, 1 << 20), marks=pytest.mark.slow)])
def test_cut_at_every_byte_what_is_whole_is_read_and_the_cut_is_named(tmp_path: Path, first: range) -> None:
    data = next((unpack(tmp_path) / "plugins").iterdir()).read_bytes()
    ends = [end + 4 for _, end in frames(data)]
    (tmp_path / "cut").mkdir()
    path = tmp_path / "cut" / NAME
    for size in range(first.start, min(first.stop, len(data))):
        path.write_bytes(data[:size])
        runs, findings = runs_of(path.parent)
        last = max((end for end in ends if end <= size), default=0)
        if not last:
            assert not runs
            continue
        run = runs["cut"]
        assert sum(map(len, points_of(run).values())) == whole_points(data[:last])
        list(run.values())
        list(run.files())
        torn = [problem for problem in findings.problems if "ends within a record" in problem]
        assert len(torn) == len(findings.problems) == (last != size), (size, findings.problems)


@pytest.mark.slow
def test_a_flipped_byte_costs_its_record_only_and_names_the_place(tmp_path: Path) -> None:
    records = [scalar("loss", step / 2, step) for step in range(8)]
    data = b"".join(records)
    path = tmp_path / NAME
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 0x55
        path.write_bytes(changed)
        runs, findings = runs_of(path)
        (run,) = runs.values()
        steps = [step for _, step, _ in points_of(run)["loss"]]
        hit = place // len(records[0])
        assert steps == [step for step in range(8) if step != hit], place
        assert len(findings.problems) == 1
        assert f"{hit * len(records[0]):,}" in findings.problems[0]


def test_points_of_a_file_that_goes_on_are_those_that_were_whole_at_first(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes(scalar("loss", 1, 1) + scalar("loss", 2, 2)[:-3])
    runs, _ = runs_of(path)
    (run,) = runs.values()
    path.write_bytes(scalar("loss", 1, 1) + scalar("loss", 2, 2) + scalar("loss", 3, 3))
    assert [step for _, step, _ in points_of(run)["loss"]] == [1]
    (run,) = runs_of(path)[0].values()
    assert [step for _, step, _ in points_of(run)["loss"]] == [1, 2, 3]


@pytest.mark.slow
def test_events_that_are_damaged_inside_cost_themselves_only(tmp_path: Path) -> None:
    runs = unpack(tmp_path)
    records = []
    for path in sorted([*runs.glob("plugins/events*"), *runs.glob("torch/trial/events*"), *runs.glob("x/events*")]):
        data = path.read_bytes()
        found = [data[start:end] for start, end in frames(data)]
        records += found[:30] + [event for event in found if b"weights" in event or b"pixels" in event]
    chance, source = random.Random(3), tmp_path / "damaged"
    source.mkdir()
    for _ in range(60):
        (source / NAME).write_bytes(b"".join(map(record, mutated(chance, records))))
        assert read_whole(EventSource(source, Findings()))


def test_zeros_after_a_power_loss_and_files_of_something_else_are_named(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes(scalar("loss", 1, 1) + bytes(5_000))
    runs, findings = runs_of(path)
    assert len(points_of(next(iter(runs.values())))["loss"]) == 1
    assert "the size of a record is damaged" in findings.problems[0]
    for data in (b"", b"x" * 100, record(b"\xff" * 20)):
        path.write_bytes(data)
        runs, findings = runs_of(path)
        assert sum(len(points_of(run)) for run in runs.values()) == 0
        assert findings.problems


def test_names_and_layouts_in_any_number_keep_the_order_of_each_metric(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    names = [f"{'m' * int(rng.integers(1, 30))}{number}" for number in range(300)]
    logged = [(names[int(rng.integers(300))], float(rng.integers(1000)), int(rng.integers(128))) for _ in range(20_000)]
    path = tmp_path / NAME
    path.write_bytes(b"".join(scalar(tag, value, step) for tag, value, step in logged))
    (run,) = runs_of(path)[0].values()
    expected: dict[str, list[tuple[int, float]]] = {}
    for tag, value, step in logged:
        expected.setdefault(tag, []).append((step, value))
    found = {tag: [(step, value) for _, step, value in points] for tag, points in points_of(run).items()}
    assert found == expected


@pytest.mark.slow
def test_memory_stays_flat_however_long_a_file_is(tmp_path: Path) -> None:
    path = tmp_path / NAME
    block = b"".join(scalar(f"loss/{step % 7}", step / 2, step % 128) for step in range(5_000))
    with path.open("wb") as file:
        for _ in range(200):
            file.write(block)
    tracemalloc.start()
    try:
        (run,) = runs_of(path)[0].values()
        count = sum(batch.num_rows for batch in run.points())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 1_000_000
    assert peak < 80 << 20, f"{peak:,}"


def test_a_source_is_recognized_by_names_and_others_are_not(tmp_path: Path) -> None:
    (tmp_path / "logs" / "a").mkdir(parents=True)
    (tmp_path / "logs" / "a" / NAME).write_bytes(scalar("loss", 1, 1))
    assert kind_of(tmp_path / "logs").name == "tfevents"
    assert kind_of(tmp_path / "logs" / "a" / NAME).name == "tfevents"


# --- checksums ---


@given(st.lists(st.binary(max_size=400), max_size=20))
def test_checksums_of_many_records_are_those_of_each(parts: list[bytes]) -> None:
    data = np.frombuffer(b"".join(parts) + b"\0", np.uint8)
    sizes = np.array([len(part) for part in parts], np.int64)
    starts = np.cumsum(sizes) - sizes
    expected = [((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFF_FFFF for crc in map(crc32c, parts)]
    assert masked_crcs(data, starts, sizes).tolist() == expected


def test_the_checksum_is_crc_32c() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    long = np.arange(300_000, dtype=np.uint32).view(np.uint8)
    (mine,) = masked_crcs(long, np.array([0]), np.array([len(long)])).tolist()
    crc = crc32c(long.tobytes())
    assert struct.pack("<I", mine) == struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFF_FFFF)
