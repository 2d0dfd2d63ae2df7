"""The page on the whole way: recorded, looked at, pushed to a real server, compared, and shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from mltrack import Store
from tests.support.both_sides import assert_equal
from tests.support.pages import Page
from tests.support.server import MlflowServer

pytestmark = pytest.mark.slow


@pytest.fixture
def page(tmp_path: Path, server: MlflowServer) -> Page:
    return Page("seed-workflow.md", tmp_path, {"LAB": server.url, "MPLBACKEND": "agg"})


def test_what_is_recorded_offline_appears_on_the_server_and_in_the_user_interface(
    page: Page, server: MlflowServer
) -> None:
    said = page.run(page.commands("python train.py"))
    (run,) = Store.open(page.store).runs()
    accuracy = run.metrics("test/accuracy").column("value").to_pylist()
    assert said == f"{accuracy[-1]}\nmodels:/digits/1\n"
    assert accuracy[-1] > 0.9
    assert len(accuracy) == 20
    assert (run.info.run_name, run.info.experiment_name, run.info.status) == ("sgd", "digits", "FINISHED")
    assert {file.path for file in run.artifacts} == {"confusion.png", "data.json", "model/model.joblib"}
    assert run.artifact_path("confusion.png").read_bytes().startswith(b"\x89PNG")

    shown = page.run(page.commands("mltrack show"))
    assert run.run_id in shown
    assert "test/accuracy" in shown
    assert "model/model.joblib" in shown

    pushed = page.run(page.commands("mltrack sync lab"))
    assert "lab" in pushed
    assert_equal(Store.open(page.store), server, "digits")
    (version,) = server.get("model-versions/search", filter="name='digits'")["model_versions"]
    (there,) = server.runs("digits").values()
    assert (version["run_id"], version["description"]) == (there["info"]["run_id"], "linear, trained by SGD")

    found = ask_the_ui(page, run.info.experiment_id)
    assert [found["info"]["run_id"], found["info"]["run_name"]] == [run.run_id, "sgd"]


def ask_the_ui(page: Page, experiment_id: str) -> dict[str, Any]:
    """The only run that ``mltrack ui`` shows, by the call that its page makes."""
    with page.started(page.elsewhere("mltrack ui") + " --no-browser --workers 1") as ui:
        assert ui.stdout is not None
        # on a busy machine lines that say what is waited for come first
        url = next(found for line in ui.stdout if (found := re.search(r"UI on .*: (http://[^/\s]+)", line)))
        asked = httpx.post(f"{url[1]}/api/2.0/mlflow/runs/search", json={"experiment_ids": [experiment_id]}, timeout=60)
        ui.terminate()
        assert ui.wait() == 0
    (run,) = asked.raise_for_status().json()["runs"]
    return dict(run)
