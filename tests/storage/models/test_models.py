"""Logged models in the store: kept in lines, changed by many at once, read as they are, removed whole."""

from __future__ import annotations

import math
import os
import threading
import time
from itertools import count
from pathlib import Path

import pytest

from mltrack.disk.codec import encode_line
from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.disk.layout import Layout
from mltrack.entities import ModelMetric
from mltrack.errors import AlreadyExistsError, InvalidPathError, NotFoundError, StoreError, UsageError
from mltrack.storage.check.check import check_store
from mltrack.storage.models.models import LoggedModels
from mltrack.store import Store
from tests.support.filesystems import Stopped, failing_from, stopping_at
from tests.support.recording import start_python

NOW = 1_700_000_000_000_000_000
RUN = "5f0c" * 8
UNKNOWN = "m-" + "0" * 32


def models(layout: Layout, fs: FileSystem = LOCAL) -> LoggedModels:
    ticks = count(NOW, 1_000_000)
    return LoggedModels(layout, clock=lambda: next(ticks), fs=fs)


def metric(key: str, value: float, step: int = 0, time: int = 1) -> ModelMetric:
    return ModelMetric(key, value, step, time, RUN)


# --- what is kept ---


def test_a_model_is_read_back_with_its_changes(layout: Layout) -> None:
    held = models(layout)
    made = held.create(
        "7", "größe", model_type="agent", source_run_id=RUN, tags={"a": "1", "b": "2"}, params={"p": "1"}
    )
    assert (made.status, made.position, made.creation_time) == ("PENDING", 1, NOW // 1_000_000)
    held.set_tags(made.model_id, {"a": None, "c": "3", "nothing": None})
    held.log_params(made.model_id, {"q": "2"})
    held.log_metrics(made.model_id, [metric("acc", 0.5)])
    held.add_artifacts(made.model_id, [("MLmodel", 3, "00"), ("data/weights", 5, "11")])
    held.remove_artifacts(made.model_id, ["MLmodel"])
    held.set_status(made.model_id, "READY", "all there")
    held.set_stage(made.model_id, "deleted")
    found = models(layout).get(made.model_id)
    assert found == held.get(made.model_id)
    assert (found.experiment_id, found.name, found.model_type, found.source_run_id) == ("7", "größe", "agent", RUN)
    assert (found.tags, found.params) == ({"b": "2", "c": "3"}, {"p": "1", "q": "2"})
    assert (found.status, found.status_message, found.lifecycle_stage) == ("READY", "all there", "deleted")
    assert found.metrics == (ModelMetric("acc", 0.5, 0, 1, RUN, seq=5),)
    assert [(a.path, a.size, a.sha256) for a in held.artifacts(made.model_id)] == [("data/weights", 5, "11")]
    assert found.last_update_time > found.creation_time
    assert found.position == 11
    held.set_stage(made.model_id, "active")
    assert held.get(made.model_id).lifecycle_stage == "active"


def test_models_are_listed_from_the_oldest_on(layout: Layout) -> None:
    held = models(layout)
    assert held.models() == [] and held.ids() == []
    made = [held.create("0", name).model_id for name in "cab"]
    assert [model.model_id for model in held.models()] == made
    assert held.ids() == sorted(made)
    assert len(held.create("0").name.split("-")) == 3


def test_models_of_one_millisecond_are_listed_in_the_order_they_were_made(layout: Layout) -> None:
    clock = iter(range(10**18, 10**18 + 100))
    models = LoggedModels(layout, clock=lambda: next(clock))
    made = [models.create("1", "net").model_id for _ in range(8)]
    assert len({model.creation_time for model in models.models()}) == 1
    assert [model.model_id for model in LoggedModels(layout, clock=lambda: 0).models()] == made


def test_metrics_keep_every_bit_of_their_values(layout: Layout) -> None:
    values = [math.nan, math.inf, -math.inf, -0.0, 0.1, 5e-324]
    model_id = models(layout).create("0").model_id
    for _ in range(2):  # again: the same values, NaN too, are passed over
        models(layout).log_metrics(model_id, [metric("m", value, step) for step, value in enumerate(values)])
    assert [repr(m.value) for m in models(layout).get(model_id).metrics] == [repr(value) for value in values]


def test_a_metric_that_would_change_is_refused_with_all_that_came_with_it(layout: Layout) -> None:
    held = models(layout)
    model_id = held.create("0").model_id
    held.log_metrics(model_id, [metric("acc", 0.5)])
    with pytest.raises(AlreadyExistsError, match="has 'acc' of run"):
        held.log_metrics(model_id, [metric("new", 1.0), metric("acc", 0.6)])
    with pytest.raises(AlreadyExistsError):
        held.log_metrics(model_id, [metric("b", 1.0), metric("b", 2.0)])
    assert [m.key for m in held.get(model_id).metrics] == ["acc"]


def test_misuse_is_refused_and_changes_nothing(layout: Layout) -> None:
    held = models(layout)
    made = held.create("0", params={"p": "1"})
    with pytest.raises(UsageError, match="is not a model's status"):
        held.set_status(made.model_id, "DONE")
    with pytest.raises(UsageError, match="is not a stage"):
        held.set_stage(made.model_id, "gone")
    with pytest.raises(AlreadyExistsError, match="a param 'p' already"):
        held.log_params(made.model_id, {"q": "1", "p": "1"})
    with pytest.raises(UsageError):
        held.set_tags(made.model_id, {"": "1"})
    with pytest.raises(UsageError):
        held.log_metrics(made.model_id, [metric("ok", 1.0), metric("bad", "x")])  # type: ignore[arg-type]
    with pytest.raises(InvalidPathError):
        held.add_artifacts(made.model_id, [("../model.jsonl", 1, "00")])
    assert held.get(made.model_id) == made


@pytest.mark.parametrize("model_id", [UNKNOWN, "", "m-x", "../runs", f"{UNKNOWN}/artifacts"])
def test_what_is_not_a_model_is_not_found(layout: Layout, model_id: str) -> None:
    held = models(layout)
    for call in (
        lambda: held.get(model_id),
        lambda: held.events(model_id),
        lambda: held.set_tags(model_id, {"a": "1"}),
        lambda: held.purge(model_id),
    ):
        with pytest.raises(NotFoundError):
            call()
    assert not (layout.models / UNKNOWN).exists()


# --- for syncers ---


def test_a_syncer_continues_from_its_position(layout: Layout) -> None:
    held = models(layout)
    model_id = held.create("0", "m").model_id
    held.log_metrics(model_id, [metric("acc", 0.5)])
    taken = held.get(model_id).position
    assert [event.type for event in held.events(model_id)] == ["create", "metric"]
    assert held.events(model_id, taken) == []
    models(layout).set_tags(model_id, {"a": "1"})
    assert held.get(model_id).position == taken + 1
    [event] = held.events(model_id, taken)
    assert (event.seq, event.type, event.fields) == (taken, "tag", {"key": "a", "value": "1"})


# --- many at once ---

ADD = """
import sys
from mltrack.entities import ModelMetric
from mltrack.store import Store
root, model_id, me = sys.argv[1:]
models = Store.open(root).logged_models
sys.stdin.readline()
for k in range(5):
    models.log_metrics(model_id, [ModelMetric("acc", k / 7, k, 1, me)])
    models.set_tags(model_id, {f"{me}.{k}": "x"})
    models.log_params(model_id, {f"{me}.{k}": str(k)})
"""


@pytest.mark.slow
def test_eight_processes_changing_one_model_at_once_lose_nothing(layout: Layout) -> None:
    held = models(layout)
    model_id = held.create("0").model_id
    processes = [start_python(ADD, layout.root, model_id, me) for me in range(8)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        assert process.communicate()[1] == "" and process.returncode == 0
        assert held.get(model_id).position > 3 * 5  # a reader needs no lock, and sees whole lines only
    found = held.get(model_id)
    names = {f"{me}.{k}" for me in range(8) for k in range(5)}
    assert set(found.tags) == set(found.params) == names
    assert {(m.run_id, m.step) for m in found.metrics} == {(str(me), k) for me in range(8) for k in range(5)}
    assert [event.seq for event in held.events(model_id)] == list(range(1 + 3 * 8 * 5))
    assert held.damage == []


def test_threads_share_one_view_of_the_models(layout: Layout) -> None:
    held = models(layout)
    made = [held.create("0").model_id for _ in range(3)]
    failed: list[BaseException] = []

    def work(me: int) -> None:
        try:
            for k in range(10):
                held.log_metrics(made[k % 3], [metric(f"{me}.{k}", 1.0)])
                assert len(held.models()) == 3
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=work, args=(me,)) for me in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert sum(len(model.metrics) for model in held.models()) == 40


# --- crashes and damage ---


def test_a_truncated_log_keeps_its_whole_lines_and_accepts_the_next_change(layout: Layout) -> None:
    held = models(layout)
    model_id = held.create("0", "m").model_id
    held.set_tags(model_id, {"a": "1", "b": "2"})
    path = layout.model(model_id).log
    data = path.read_bytes()
    for end in range(len(data)):
        path.write_bytes(data[:end])
        whole = data[:end].count(b"\n")
        reader = models(layout)
        if whole == 0:
            assert reader.models() == []
            continue
        assert list(reader.get(model_id).tags) == list("ab")[: whole - 1]
        reader.set_tags(model_id, {"c": "3"})
        assert list(models(layout).get(model_id).tags) == [*list("ab")[: whole - 1], "c"]
        assert [event.seq for event in reader.events(model_id)] == list(range(whole + 1))
        assert not reader.damage


def test_a_damaged_line_is_reported_and_its_seq_is_not_reused(layout: Layout) -> None:
    held = models(layout)
    model_id = held.create("0", "m").model_id
    held.set_tags(model_id, {"a": "1"})
    held.set_tags(model_id, {"b": "2"})
    path = layout.model(model_id).log
    lines = path.read_bytes().split(b"\n")
    lines[2] = lines[2].replace(b'"b"', b'"x"')
    path.write_bytes(b"\n".join(lines))
    reader = models(layout)
    assert reader.get(model_id).tags == {"a": "1"}
    assert [damage.offset for damage in reader.damage] == [len(lines[0]) + len(lines[1]) + 2]
    reader.set_tags(model_id, {"c": "3"})
    assert [event.seq for event in reader.events(model_id)] == [0, 1, 3]


def test_a_line_without_required_fields_is_damage_and_others_hold(layout: Layout) -> None:
    held = models(layout)
    model_id = held.create("0", "m").model_id
    with open(layout.model(model_id).log, "ab") as file:
        file.write(encode_line({"seq": 1, "time": NOW, "type": "tag"}))
        file.write(encode_line({"seq": 2, "time": NOW, "type": "from the future", "x": 1}))
    held.set_tags(model_id, {"a": "1"})
    assert held.get(model_id).tags == {"a": "1"} and held.get(model_id).position == 4
    assert ["has no 'key'" in str(damage) for damage in held.damage] == [True]


def test_creating_a_model_interrupted_anywhere_leaves_it_whole_or_absent(layout: Layout) -> None:
    step = 1
    while True:
        try:
            models(layout, stopping_at(step)).create("0", "m", params={"p": "1"})
            break
        except Stopped:
            assert all(model.params == {"p": "1"} for model in models(layout).models())
        step += 1
    assert step > 3
    report = check_store(layout.root)
    assert report.sound, report.findings


def test_a_disk_that_refuses_writes_is_an_error_that_names_the_model(layout: Layout) -> None:
    with pytest.raises(StoreError, match="can't make a model"):
        models(layout, failing_from(1)).create("0")
    model_id = models(layout).create("0").model_id
    with pytest.raises(StoreError, match=f"{model_id}.* can't be changed"):
        models(layout, failing_from(1)).set_tags(model_id, {"a": "1"})
    assert models(layout).get(model_id).tags == {}


# --- removing ---


def test_a_purged_model_is_gone_with_its_files(layout: Layout) -> None:
    held = models(layout)
    model_id = held.create("0").model_id
    folder = held.folder(model_id)
    folder.artifacts.mkdir()
    (folder.artifacts / "MLmodel").write_text("x")
    other = models(layout)
    assert other.get(model_id)
    held.purge(model_id)
    assert os.listdir(layout.models) == []
    for view in (held, other):
        assert view.models() == []
        with pytest.raises(NotFoundError):
            view.set_tags(model_id, {"a": "1"})
    assert os.listdir(layout.models) == []


def test_a_removal_interrupted_anywhere_leaves_the_model_whole_or_gone(layout: Layout) -> None:
    for step in (1, 2):
        model_id = models(layout).create("0").model_id
        with pytest.raises(Stopped):
            models(layout, stopping_at(step)).purge(model_id)
        assert (model_id in [model.model_id for model in models(layout).models()]) is (step == 1)


def test_a_store_has_its_logged_models(layout: Layout) -> None:
    model_id = models(layout).create("0", "m").model_id
    assert Store.open(layout.root).logged_models.get(model_id).name == "m"


# --- the check ---


@pytest.fixture
def checked(layout: Layout) -> str:
    """A model with one file."""
    held = models(layout)
    model_id = held.create("0").model_id
    folder = held.folder(model_id)
    folder.artifacts.mkdir()
    (folder.artifacts / "MLmodel").write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    held.add_artifacts(model_id, [("MLmodel", 3, digest)])
    held.set_tags(model_id, {"a": "1"})
    return model_id


def errors(layout: Layout) -> list[tuple[str, str]]:
    return [(f.path, f.what) for f in check_store(layout.root).findings if f.severity == "error"]


def test_a_sound_model_is_counted_without_findings(layout: Layout, checked: str) -> None:
    report = check_store(layout.root)
    assert (report.findings, report.models, report.artifacts) == ([], 1, 1)


def test_a_damaged_line_of_a_model_is_found_with_its_place(layout: Layout, checked: str) -> None:
    path = layout.model(checked).log
    data = bytearray(path.read_bytes())
    first = data.index(b"\n") + 1
    data[first + 30] ^= 1
    path.write_bytes(data)
    [finding] = check_store(layout.root).findings[:1]
    assert (finding.severity, finding.path, finding.offset) == ("error", f"models/{checked}/model.jsonl", first)
    assert any("not recorded" in f.what or f.severity == "error" for f in check_store(layout.root).findings)


def test_a_missing_line_and_a_lost_beginning_are_found(layout: Layout, checked: str) -> None:
    path = layout.model(checked).log
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[2])
    assert errors(layout) == [(f"models/{checked}/model.jsonl", "line 2 is in the place of line 1")]
    path.write_bytes(b"x" + lines[0][1:] + lines[1] + lines[2])
    assert [what for _, what in errors(layout)][1:] == [
        "the line that made the model is lost, so that it is not listed"
    ]


def test_a_changed_or_missing_file_of_a_model_is_found(layout: Layout, checked: str) -> None:
    file = layout.model(checked).artifacts / "MLmodel"
    file.write_bytes(b"abd")
    assert [what[:12] for _, what in errors(layout)] == ["has SHA-256 "]
    file.write_bytes(b"abcd")
    assert [what for _, what in errors(layout)] == ["has 4 bytes, but 3 were recorded"]
    file.unlink()
    assert errors(layout) == [(f"models/{checked}/artifacts/MLmodel", "is missing")]


def test_leftovers_next_to_models_are_noted_once_they_are_old(layout: Layout, checked: str) -> None:
    artifacts = layout.model(checked).artifacts
    (artifacts / "strange").write_text("x")
    (artifacts / ".half.tmp").write_text("x")
    (layout.models / f".{checked}.1.tmp").mkdir()
    (layout.models / UNKNOWN).mkdir()
    assert [f.what[:12] for f in check_store(layout.root).findings] == ["has no model"]
    later = Path(artifacts).stat().st_mtime + 3600
    found = sorted((f.severity, Path(f.path).name) for f in check_store(layout.root, now=lambda: later).findings)
    assert found == [("note", name) for name in sorted([f".{checked}.1.tmp", ".half.tmp", UNKNOWN, "strange"])]


class CountingDisk(FileSystem):
    """Tells how often it was asked to write to the disk."""

    def __init__(self) -> None:
        self.syncs = 0

    def sync(self, fd: int) -> None:
        self.syncs += 1
        super().sync(fd)


def test_logging_a_metric_does_not_wait_for_the_disk_and_is_synced_soon_after(layout: Layout) -> None:
    disk = CountingDisk()
    held = models(layout, disk)
    model_id = held.create("0", "spiral").model_id
    before = disk.syncs
    for step in range(20):
        held.log_metrics(model_id, [metric("loss", 0.5, step)])
    during = disk.syncs - before
    assert during < 20
    while disk.syncs == before + during:
        time.sleep(0.05)
    assert len(held.get(model_id).metrics) == 20
