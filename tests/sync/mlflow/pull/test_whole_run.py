"""A run pushed with a sampled history comes back whole from its files on the server."""

from __future__ import annotations

from pathlib import Path

import pytest

from mltrack.recording import current_store, fluent
from mltrack.storage.check.check import check_store
from mltrack.storage.runs.edit import set_tag
from mltrack.store import Store
from mltrack_sync import Remote, Remotes, Selection, push
from mltrack_sync.engine.pull import pull
from tests.support.server import MlflowServer
from tests.support.store_copies import assert_same_runs

SEALED = 6000
"""Points of a run that is sealed when it ends."""


def record(store: Store, experiment: str, points: int) -> str:
    current_store.set_store(store.path)
    try:
        current_store.set_experiment(experiment)
        with fluent.start_run(run_name="long") as run:
            run.log_param("lr", 0.1)
            for step in range(points):
                run.log_metric("loss", (step * 7919) % 1009 / 7, step)
            run.log_text("what it said", "notes/text.txt")
            run_id: str = run.run_id
    finally:
        current_store.set_store(None)
    return run_id


@pytest.mark.parametrize("points", [300, SEALED])
def test_a_sampled_run_is_rebuilt_whole_and_is_the_same_run(
    tmp_path: Path, store: Store, server: MlflowServer, remote: Remote, experiment: str, mine: Selection, points: int
) -> None:
    run_id = record(store, experiment, points)
    sampled = Remotes(store).configure(remote.name, ["history=100"])
    assert push(store, sampled).complete
    other = Store.create(tmp_path / "other")
    again = Remotes(other).add("again", server.url)
    report = pull(other, again, selection=mine)
    assert report.complete, report.problems
    assert (report.runs, report.created, report.points, report.artifacts) == (1, 1, points, 1)
    assert other.run_ids() == [run_id]
    assert_same_runs(store, other)
    second = pull(other, again, selection=mine)
    assert (second.runs, second.points, second.artifacts) == (0, 0, 0)
    sent = push(other, again)
    assert (sent.runs, sent.created, sent.points, sent.artifacts) == (0, 0, 0, 0)
    set_tag(store.layout, run_id, "later", "yes")
    assert push(store, sampled).complete
    third = pull(other, again, selection=mine)
    assert third.complete, third.problems
    assert other.run(run_id).tags["later"] == "yes"
    assert other.run(run_id).metrics().equals(store.run(run_id).metrics())


def test_a_damaged_file_of_a_sampled_run_is_named_and_not_used(
    tmp_path: Path, store: Store, server: MlflowServer, remote: Remote, experiment: str, mine: Selection
) -> None:
    run_id = record(store, experiment, SEALED)
    assert push(store, Remotes(store).configure(remote.name, ["history=100"])).complete
    (local,) = store.layout.run(run_id).segments.iterdir()
    (segment,) = server.folder.rglob(local.name)
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    other = Store.create(tmp_path / "other")
    again = Remotes(other).add("again", server.url)
    report = pull(other, again, selection=mine)
    assert not report.complete
    assert "damaged" in report.problems[0]
    assert check_store(other.path).sound
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    assert pull(other, again, selection=mine).complete
    assert_same_runs(store, other)
