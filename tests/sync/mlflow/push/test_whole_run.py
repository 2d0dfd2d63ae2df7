"""The complete run beside a sampled history: its files arrive once, after a crash and of a live run too, and verify."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

import mltrack
from mltrack.cli.app import main
from mltrack.store import Store
from mltrack_sync import PushReport, Remote, Remotes, push
from mltrack_sync.engine.verify import verify
from mltrack_sync.errors import RemoteUnavailableError
from mltrack_sync.gc import plan_gc
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.report import VerifyReport
from tests.support import ROOT
from tests.support.fake_mlflow import FakeMlflow, Fields, Refused

N = 100
SEALED = 6000
"""Points of a run that is sealed when it ends."""


@pytest.fixture
def there(there: Remote, store: Store) -> Remote:
    """With sampled histories."""
    return Remotes(store).configure(there.name, [f"history={N}"])


def record(points: int = SEALED) -> str:
    with mltrack.start_run() as run:
        mltrack.log_param("a", 1)
        for step in range(points):
            run.log_metric("m", (step * 7919) % 1009, step=step)
    return run.run_id


def crashed(store: Store, points: int) -> str:
    code = "import os, mltrack\nrun = mltrack.start_run()\nprint(run.run_id, flush=True)\n"
    code += f"for step in range({points}): run.log_metric('m', step % 101, step=step)\nos._exit(1)"
    settings = {**os.environ, "MLTRACK_STORE": str(store.path)}
    died = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=settings, stdout=subprocess.PIPE, text=True, check=False
    )
    return died.stdout.strip()


def pushed(store: Store, remote: Remote, fake: FakeMlflow) -> PushReport:
    return push(store, remote, http=fake, policy=RetryPolicy(sleep=lambda seconds: None), jobs=1)


def files(fake: FakeMlflow, folder: str = "mltrack") -> dict[str, bytes]:
    """The files of the only run below that folder of its artifacts."""
    (run,) = fake.runs.values()
    start = run.info["artifact_uri"].removeprefix("mlflow-artifacts:/") + f"/{folder}/"
    return {path.removeprefix(start): data for path, data in fake.files.items() if path.startswith(start)}


def manifest(found: dict[str, bytes]) -> dict[str, Any]:
    """The last one."""
    last = max((name for name in found if name.startswith("manifest.")), key=lambda name: int(name.split(".")[1]))
    fields: dict[str, Any] = json.loads(found[last])
    return fields


def rebuilt(found: dict[str, bytes], store: Store, run_id: str) -> Store:
    """A store with the run as its files on the server have it."""
    fields = manifest(found)
    for path, parts in fields["parts"].items():
        data = b"".join(found[part["name"]] for part in parts)
        target = store.layout.runs / run_id / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return store


@pytest.fixture
def second(tmp_path: Path) -> Store:
    Store.create(tmp_path / "second")
    return Store.open(tmp_path / "second")


def compared(store: Store, there: Remote, fake: FakeMlflow) -> VerifyReport:
    return verify(store, there, http=fake)


def points_of(store: Store, run_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = store.run(run_id).metrics("m").to_pylist()
    return found


@pytest.mark.parametrize("points", [3, SEALED])
def test_a_run_can_be_rebuilt_from_its_files_and_a_second_push_sends_none(
    store: Store, there: Remote, fake: FakeMlflow, second: Store, points: int
) -> None:
    run_id = record(points)
    foreseen = push(store, there, dry_run=True)
    report = pushed(store, there, fake)
    assert (report.artifacts, report.artifact_bytes) == (foreseen.artifacts, foreseen.artifact_bytes)
    found = files(fake)
    assert sum(name.startswith("segments/") for name in found) == (points == SEALED)
    copy = rebuilt(found, second, run_id)
    assert points_of(copy, run_id) == points_of(store, run_id)
    assert copy.run(run_id).params == {"a": "1"}
    assert copy.run(run_id).info.end_time == store.run(run_id).info.end_time
    assert compared(store, there, fake).same
    calls = len(fake.calls)
    assert pushed(store, there, fake).artifacts == 0
    assert len(fake.calls) == calls


def test_a_crashed_run_can_be_rebuilt_and_its_segment_is_sent_once_it_is_sealed(
    store: Store, there: Remote, fake: FakeMlflow, second: Store
) -> None:
    run_id = crashed(store, SEALED)
    pushed(store, there, fake)
    assert not any(name.startswith("segments/") for name in files(fake))
    assert points_of(rebuilt(files(fake), second, run_id), run_id) == points_of(store, run_id)
    assert compared(store, there, fake).same
    assert main(["--store", str(store.path), "seal", run_id]) == 0
    assert pushed(store, there, fake).artifacts == 2
    assert any(name.startswith("segments/") for name in files(fake))
    assert [entry["path"].partition("/")[0] for entry in manifest(files(fake))["files"]].count("points") == 0
    assert compared(store, there, fake).same


def test_the_events_of_a_live_run_are_sent_and_later_what_was_added(
    store: Store, there: Remote, fake: FakeMlflow, second: Store
) -> None:
    with mltrack.start_run() as run:
        run.log_metric("m", 1.0, step=1)
        pushed(store, there, fake)
        first = files(fake)
        assert sorted(name.partition("/")[0].partition(".")[0] for name in first) == ["events", "manifest"]
        for n in range(3):
            run.set_tag(f"t{n}", "x")
            assert pushed(store, there, fake).artifacts == 0
        for n in range(400):
            run.set_tag(f"more{n}", "x" * 50)
        assert pushed(store, there, fake).artifacts == 2
        assert len(files(fake)) == 4
    pushed(store, there, fake)
    last = files(fake)
    assert first.items() <= last.items(), "nothing on the server ever changes"
    copy = rebuilt(last, second, run.run_id)
    assert copy.run(run.run_id).tags == store.run(run.run_id).tags
    assert points_of(copy, run.run_id) == points_of(store, run.run_id)
    assert compared(store, there, fake).same


def test_edits_after_the_end_are_sent_as_one_more_part(store: Store, there: Remote, fake: FakeMlflow) -> None:
    run_id = record(3)
    pushed(store, there, fake)
    with mltrack.start_run(run_id) as run:
        run.set_tag("note", "good")
    report = pushed(store, there, fake)
    assert report.artifacts == 2
    assert compared(store, there, fake).same


@pytest.mark.slow
def test_a_file_that_differs_or_is_missing_on_the_server_is_found_and_gc_keeps_the_run(
    store: Store, there: Remote, fake: FakeMlflow
) -> None:
    run_id = record()
    pushed(store, there, fake)
    assert [run.run_id for run in plan_gc(store, there, http=fake).deletable] == [run_id]
    for path in [path for path in fake.files if "/mltrack/" in path]:
        data = fake.files[path]
        fake.files[path] = data[:-2] + bytes([data[-2] ^ 1]) + data[-1:]
        (difference,) = compared(store, there, fake).differences
        assert path.endswith(difference.key)
        assert not plan_gc(store, there, http=fake).deletable
        del fake.files[path]
        assert not compared(store, there, fake).same
        assert not verify(store, there, http=fake, quick=True).same
        fake.files[path] = data
    assert compared(store, there, fake).same


def test_a_runs_own_files_under_that_name_stay_unchanged(
    store: Store, there: Remote, fake: FakeMlflow, second: Store
) -> None:
    with mltrack.start_run() as run:
        run.log_metric("m", 1.0)
        run.log_text("mine", "mltrack/manifest.1.json")
        run.log_text("mine", "mltrack-1")
    pushed(store, there, fake)
    assert files(fake)["manifest.1.json"] == b"mine"
    assert points_of(rebuilt(files(fake, "mltrack-2"), second, run.run_id), run.run_id)
    assert compared(store, there, fake).same


def test_pushes_that_are_interrupted_at_any_file_send_the_rest_later(
    store: Store, there: Remote, fake: FakeMlflow
) -> None:
    record()
    for number in range(1, 9):
        left = [number]

        def fault(call: str, fields: Fields, left: list[int] = left) -> None:
            if call.startswith("artifacts "):
                left[0] -= 1
            if left[0] <= 0:
                raise httpx.ConnectError("gone")

        fake.fault = fault
        try:
            push(store, there, http=fake, policy=RetryPolicy(attempts_max=1), jobs=1)
        except RemoteUnavailableError:
            continue
    fake.fault = lambda call, fields: None
    pushed(store, there, fake)
    assert compared(store, there, fake).same
    assert len(manifest(files(fake))["files"]) == 4


def test_a_file_that_the_server_refuses_is_rejected_and_named_in_no_manifest(
    store: Store, there: Remote, fake: FakeMlflow
) -> None:
    def fault(call: str, fields: Fields) -> None:
        if call.startswith("artifacts PUT") and "segments" in fields["path"]:
            raise Refused("no room", status=400)

    record()
    fake.fault = fault
    report = pushed(store, there, fake)
    assert [item.kind for item in report.rejected] == ["artifact"]
    assert not any(name.startswith("manifest") for name in files(fake))
    calls = len(fake.calls)
    pushed(store, there, fake)
    assert len(fake.calls) == calls
    assert not plan_gc(store, there, http=fake).deletable
    fake.fault = lambda call, fields: None
    push(store, there, http=fake, retry_rejected=True)
    assert compared(store, there, fake).same
