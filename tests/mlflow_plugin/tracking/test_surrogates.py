"""Text that no encoding takes, which a store can hold, in MLflow's answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mltrack

HALF = "x\ud800y"
SHOWN = "x\\ud800y"


@pytest.fixture
def tracking(tmp_path: Path) -> Any:
    from mltrack.mlflow_plugin.tracking import TrackingStore

    return TrackingStore(f"mltrack://{tmp_path / 'store'}")


def test_a_run_with_half_a_character_in_its_texts_is_shown_with_its_escape(tmp_path: Path, tracking: Any) -> None:
    mltrack.set_store(tmp_path / "store")
    with mltrack.start_run(run_name=HALF) as run:
        mltrack.log_param("param", HALF)
        mltrack.set_tag("tag", HALF)
        mltrack.log_metric("metric", 1)
    for found in (tracking.get_run(run.run_id), *tracking.search_runs(["0"], "", 1, 10)):
        sent = found.to_proto()
        assert sent.info.run_name == SHOWN
        assert {pair.key: pair.value for pair in sent.data.params} == {"param": SHOWN}
        assert {pair.key: pair.value for pair in sent.data.tags}["tag"] == SHOWN


def test_a_logged_model_with_half_a_character_in_its_texts_is_shown_with_its_escape(tracking: Any) -> None:
    from mlflow.entities import LoggedModelParameter, LoggedModelTag

    made = tracking.create_logged_model(
        "0", name="net", tags=[LoggedModelTag("tag", HALF)], params=[LoggedModelParameter("param", HALF)]
    )
    for found in (tracking.get_logged_model(made.model_id), *tracking.search_logged_models(["0"])):
        sent = found.to_proto()
        assert [(pair.key, pair.value) for pair in sent.info.tags] == [("tag", SHOWN)]
        assert [(pair.key, pair.value) for pair in sent.data.params] == [("param", SHOWN)]
