"""A store with a file of every kind, as mltrack leaves it: what the tests damage."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from mltrack.disk.jsonlog import JsonLog
from mltrack.journal.points import SEAL_POINTS_MIN
from mltrack.recording import current_store, fluent
from mltrack.store import Store
from mltrack.values.rich import Histogram, Text

__all__ = ["LOGS", "PATTERNS", "SHA256", "file_of", "make_full_store"]

SHA256 = "0" * 64
LOGS = ["events", "series", "experiments", "registry", "model", "facts", "spans", "ledger", "uploads"]
"""The kinds of files that are written a line at a time."""

PATTERNS = {
    "events": "runs/*/events/*.jsonl",
    "series": "runs/*/series/*.jsonl",
    "experiments": "workspace/experiments.jsonl",
    "registry": "workspace/models.jsonl",
    "model": "models/*/model.jsonl",
    "facts": "traces/*/facts/*.jsonl",
    "spans": "traces/*/spans/*.jsonl",
    "ledger": "remotes/*/ledger.jsonl",
    "uploads": "remotes/*/uploads.jsonl",
    "points": "runs/*/points/*.points",
    "segment": "runs/*/segments/*.parquet",
    "artifact": "runs/*/artifacts/notes/text.txt",
    "remotes": "remotes.toml",
    "store": "store.json",
}
"""Where the files of each kind are."""


def make_full_store(root: Path) -> Store:
    """Two runs, a registered and a logged model, a trace with spans, a remote that took some of it."""
    current_store.set_store(root)
    current_store.set_experiment("full")
    for name, points in (("sealed", SEAL_POINTS_MIN + 10), ("short", 20)):
        with fluent.start_run(run_name=name) as run:
            run.log_param("lr", 0.1)
            run.set_tag("team", "a")
            for step in range(points):
                run.log_metric("loss" if step % 2 else "accuracy", step / points, step)
            run.log_text("a text of some length", "notes/text.txt")
            run.log({"weights": Histogram([1.0, 2.0, 3.0]), "words": Text("said")}, step=1)
    current_store.set_store(None)
    store = Store.open(root)
    store.registry.create_version("net", "runs:/a/model", create_model=True, tags={"k": "v"})
    store.registry.set_alias("net", "best", 1)
    model = store.logged_models.create("0", "m", params={"a": "1"})
    store.logged_models.set_tags(model.model_id, {"b": "2"})
    store.logged_models.set_status(model.model_id, "READY")
    _trace(store)
    _remote(store)
    return store


def file_of(root: Path, kind: str) -> Path:
    """The largest file of a kind."""
    return max(root.glob(PATTERNS[kind]), key=lambda path: path.stat().st_size)


def _trace(store: Store) -> None:
    now = time.time_ns()
    head = {"id": "s1", "name": "root", "status": "OK", "start": now, "end": now + 5}
    told: dict[str, Any] = {"type": "spans", "trace_id": "tr-1", "start": now // 1_000_000, "heads": [head]}
    store.traces.add("0", {"type": "info", "trace_id": "tr-1", "request_time": now // 1_000_000, "state": "OK"})
    store.traces.add_spans("0", [told], [[{"name": "root", "attributes": {"a": "1"}}]])
    store.traces.add("0", {"type": "tag", "trace_id": "tr-1", "key": "k", "value": "v"})
    store.traces.close()


def _remote(store: Store) -> None:
    (store.path / "remotes.toml").write_text('[remotes.lab]\nurl = "http://127.0.0.1:9"\n')
    folder = store.path / "remotes" / "lab"
    folder.mkdir(parents=True)
    run_id = store.run_ids()[0]
    log = JsonLog(folder / "ledger.jsonl", records=None, create=True, placed=True)
    log.append(
        [
            {"type": "ledger", "version": 1, "url": "http://127.0.0.1:9"},
            {"type": "experiment", "local": "0", "remote": "1", "tags": {}},
            {"type": "create", "run": run_id},
            {"type": "run", "run": run_id, "remote": "r", "experiment": "1", "uri": "mlflow-artifacts:/1"},
            {"type": "ack", "run": run_id, "at": {"0" * 16: [2, 1]}, "next": {}},
            {"type": "artifact", "run": run_id, "path": "notes/text.txt", "sha256": SHA256},
            {"type": "pass", "time": 5, "runs": 1, "points": 1},
        ]
    )
    log.close()
    log = JsonLog(folder / "uploads.jsonl", create=True, placed=True, records=None)
    about = {"run": run_id, "path": "notes/text.txt"}
    upload = {"type": "upload", "name": "n", "sha256": SHA256, "size": 9, "part_bytes": 5, "upload_id": "u"}
    log.append([{**upload, **about}, {"type": "part", "number": 1, "etag": "e", **about}])
    log.close()
