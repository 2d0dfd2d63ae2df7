"""MLflow's API on a store whose runs were rewound and forked: what does not count is in no answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mltrack
from mltrack.store import Store


def steps(history: list[Any]) -> list[int]:
    return [metric.step for metric in history]


def test_histories_and_latest_metrics_follow_rewinds_and_forks(tmp_path: Path) -> None:
    from mlflow.entities import ViewType

    from mltrack.mlflow_plugin.tracking import TrackingStore

    mltrack.set_store(tmp_path / ".mltrack")
    with mltrack.start_run() as run:
        for step in range(10):
            run.log_metric("loss", step / 8, step)
    tracking: Any = TrackingStore(f"mltrack://{tmp_path}/.mltrack")
    store = Store.open(tmp_path / ".mltrack")
    assert steps(tracking.get_metric_history(run.run_id, "loss")) == list(range(10))
    store.rewind_run(run.run_id, 6)
    with mltrack.fork_run(run.run_id, 3) as fork:
        fork.log_metric("loss", 9.0, 4)
    for run_id, wanted, latest in ((run.run_id, range(7), 0.75), (fork.run_id, range(5), 9.0)):
        assert steps(tracking.get_metric_history(run_id, "loss")) == list(wanted)
        assert steps(tracking.get_metric_history_bulk_interval([run_id], "loss", 100, None, None)) == list(wanted)
        assert steps(tracking.get_metric_history_bulk([run_id], "loss", 100)) == list(wanted)
        assert tracking.get_max_step_for_metric(run_id, "loss") == wanted[-1]
        assert tracking.get_run(run_id).data.metrics == {"loss": latest}
    found = tracking.search_runs(["0"], "metrics.loss > 5", ViewType.ACTIVE_ONLY)
    assert [one.info.run_id for one in found] == [fork.run_id]
    store.undo_rewind(run.run_id)
    assert steps(tracking.get_metric_history(run.run_id, "loss")) == list(range(10))
    assert tracking.get_run(run.run_id).data.metrics == {"loss": 1.125}
