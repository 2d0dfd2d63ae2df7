"""MLflow on a store in which one field of one line says what can't be: its own errors come out, and other runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mltrack.errors import MltrackError
from tests.support.full_store import LOGS, make_full_store
from tests.support.full_store import file_of as of
from tests.support.poison import HOSTILE, poisoned


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_full_store(tmp_path_factory.mktemp("full") / "store").path


def ask_all(root: Path, bad: str) -> None:
    """Every question of MLflow's that reads; nothing but errors that its server has an answer for may come out."""
    from mlflow.entities import ViewType
    from mlflow.exceptions import MlflowException

    from mltrack.mlflow_plugin.registry.store import RegistryStore
    from mltrack.mlflow_plugin.tracking import TrackingStore

    uri = f"mltrack://{root}"
    tracking: Any = TrackingStore(uri)
    registry: Any = RegistryStore(uri, uri)
    found = tracking.search_experiments(ViewType.ALL)
    ids = [experiment.experiment_id for experiment in found]
    runs = tracking.search_runs(ids, "", ViewType.ALL, 100)
    others = {path.name for path in (root / "runs").iterdir()} - {bad}
    assert others <= {run.info.run_id for run in runs} or "full" not in {experiment.name for experiment in found}
    for run in runs:
        run.to_dictionary()
        run.to_proto()
    questions: list[Callable[[], Any]] = [
        lambda: tracking.search_runs(ids, "metrics.loss < 1 and params.lr = '0.1'", ViewType.ALL, 100, ["tags.team"]),
        lambda: tracking.get_run(bad).to_proto(),
        lambda: [metric.to_proto() for metric in tracking.get_metric_history(bad, "loss")],
        lambda: [trace.to_proto() for trace in tracking.search_traces(ids)[0]],
        lambda: tracking.get_trace_info("tr-1").to_proto(),
        lambda: tracking.get_trace("tr-1"),
        lambda: [model.to_proto() for model in tracking.search_logged_models(["0"])],
        lambda: [model.to_proto() for model in registry.search_registered_models()],
        lambda: [version.to_proto() for version in registry.search_model_versions("name = 'net'")],
        lambda: registry.get_model_version_by_alias("net", "best"),
    ]
    for question in questions:
        with suppress(MlflowException, MltrackError):
            question()


def change(root: Path, kind: str, line: int, field: int, value: str) -> None:
    path = of(root, kind)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[line % len(lines)] = poisoned(lines[line % len(lines)][:-1], field, value)
    path.write_bytes(b"".join(lines))


@pytest.mark.slow
@pytest.mark.parametrize("kind", LOGS)
def test_mlflow_skips_a_line_with_impossible_values(made: Path, tmp_path: Path, kind: str) -> None:
    bad = of(made, "events").parents[1].name
    for number, value in enumerate(HOSTILE[::6]):
        root = tmp_path / str(number)
        shutil.copytree(made, root)
        change(root, kind, number, number + 3, value)
        ask_all(root, bad)


@pytest.mark.slow
@pytest.mark.parametrize("kind", LOGS)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(line=st.integers(0, 20), field=st.integers(0, 12), value=st.sampled_from(HOSTILE))
def test_mlflow_skips_any_such_line(kind: str, line: int, field: int, value: str, made: Path, tmp_path: Path) -> None:
    root = tmp_path / "store"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(made, root)
    change(root, kind, line, field, value)
    ask_all(root, of(made, "events").parents[1].name)
