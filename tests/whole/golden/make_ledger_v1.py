"""Makes the golden ledger of version 1, its store, and what was said of it: ``python make_ledger_v1.py`` from here.

It was made once, by the mltrack of the time before its modules were laid out in rooms, and is never made again: it
shows that what was written then is still understood. (The imports here are those of today.)
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlflow

import mltrack
from mltrack.entities import ModelMetric
from mltrack.store import Store
from mltrack_sync import Remote, Remotes, push
from mltrack_sync.errors import RemoteUnavailableError
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.status import status_of
from tests.support.mlflow_recording import mlflow_on
from tests.support.model_recording import record_model
from tests.support.proxy import Cut, Fault, FaultyProxy, LoseAnswer, Seen
from tests.support.server import MlflowServer

HERE = Path(__file__).parent
STORE = HERE / "ledger_v1"
NAMES = ("runs", "created", "params", "tags", "points", "artifacts", "datasets", "models", "model_versions")


def record() -> tuple[mltrack.Run, mltrack.Run, mltrack.Run]:
    """Some of everything; returns the runs."""
    with mltrack.start_run(run_name="first", tags={"team": "a"}) as first:
        first.log_params({"lr": "0.1", "long": "x" * 7000})
        for step in range(20):
            first.log_metric("loss", 1 / (step + 1), step=step)
        first.log_metric("not % taken", 1.0)
        first.log_text("hello\n", "notes/hello.txt")
        first.log_input(mltrack.Dataset("train", "abc", "local", "{}", None, None))
    with mltrack.start_run(run_name="second", parent_run_id=first.run_id) as second:
        for step in range(5):
            second.log_metric("loss", 2.0, step=step)
    with mltrack.start_run(run_name="deleted") as gone:
        gone.log_metric("loss", 1.0)
    return first, second, gone


def record_others(store: Store, run_id: str, experiment: str) -> None:
    """A logged model, a registered one, and a trace."""
    model = record_model(store, run_id)
    store.logged_models.log_metrics(model, [ModelMetric("acc", 0.5, 1, 1_700_000_000_000, run_id)])
    store.registry.create_version("spiral", f"runs:/{run_id}/notes", run_id=run_id, create_model=True)
    store.registry.create_version("spiral", f"models:/{model}", model_id=model)
    store.registry.set_alias("spiral", "champion", 1)
    store.registry.set_model_tag("spiral", "team", "a")
    with mlflow_on(f"mltrack://{store.path}", experiment):
        with mlflow.start_span("question") as root:
            root.set_inputs({"a": 1})
        mlflow.log_feedback(trace_id=root.trace_id, name="good", value=0.5)


def said(store: Store, remote: Remote) -> dict[str, Any]:
    """What dry run and status say."""
    report, status = push(store, remote, dry_run=True), status_of(store, remote)
    rejected = sorted([item.run_id, item.kind, item.key, item.points] for item in report.rejected)
    counts = {name: getattr(report, name) for name in (*NAMES, "logged_models", "traces")}
    counts |= {"pending_points": status.pending_points, "pending_traces": status.pending_traces}
    return {"url": remote.url, **counts, "rejected": rejected, "runs_there": status.runs_on_remote}


def break_off(proxy: FaultyProxy, store: Store, remote: Remote) -> None:
    """A push that loses the answer to its second batch, and reaches nothing after that."""
    batches: list[Seen] = []

    def fault(seen: Seen) -> Fault:
        is_batch = seen.path.endswith("log-batch")
        batches.extend([seen] if is_batch else [])
        return None if len(batches) < 2 else LoseAnswer() if len(batches) == 2 and is_batch else Cut()

    proxy.fault = fault
    try:
        push(store, remote, policy=RetryPolicy(attempts_max=1, sleep=lambda seconds: None), jobs=1)
    except RemoteUnavailableError as error:
        print("broken off:", error)


def main() -> None:
    """Write the store with its ledger, and what is said of it."""
    sys.argv[0] = "train.py"
    server = MlflowServer(Path(tempfile.mkdtemp()))
    server.start()
    proxy = FaultyProxy(server.url)
    experiment = "spirals größe"
    try:
        mltrack.set_store(STORE)
        mltrack.set_experiment(experiment)
        mltrack.set_experiment_tag("owner", "ann")
        first, second, gone = record()
        store = Store.open(STORE)
        record_others(store, first.run_id, experiment)
        remote = Remotes(store).add("there", proxy.url)
        push(store, remote)
        store.delete_run(gone.run_id)
        push(store, remote)
        with mltrack.start_run(first.run_id) as more:
            for step in range(20, 3020):
                more.log_metric("loss", 0.5, step=step)
            more.log_param("new", "1")
            more.log_text("more", "notes/more.txt")
        store.registry.create_version("spiral", f"runs:/{second.run_id}", run_id=second.run_id)
        break_off(proxy, store, remote)
        words = json.dumps(said(store, remote), ensure_ascii=False, indent=1)
        (HERE / "ledger_v1.json").write_text(words + "\n", encoding="utf-8")
    finally:
        proxy.close()
        server.close()


if __name__ == "__main__":
    main()
