"""The page on upgrading: its commands, typed next to what MLflow left."""

from __future__ import annotations

from pathlib import Path

import pytest

from mltrack.store import Store
from tests.support.pages import Page
from tests.support.sources import unpack


@pytest.mark.slow
@pytest.mark.parametrize("source", ["mlflow-3.17.2-sqlite", "mlflow-3.12.0-mlruns"])
def test_the_page_brings_the_runs_that_mlflow_left(tmp_path: Path, source: str) -> None:
    page = Page("../upgrade.md", tmp_path)
    left = unpack(source, tmp_path).name
    said = page.run(page.commands("mltrack import").replace("mlflow.db", left))
    assert "Would come from" in said and "0 differences" in said
    assert len(list(Store.open(page.store).runs())) == 5
    assert "no problems found" in page.run("mltrack check")
