"""A folder of several kinds: the first is taken, and the others are named with how to take them."""

from __future__ import annotations

from pathlib import Path

from mltrack.importers.engine import import_source
from mltrack.importers.kinds import others_in
from mltrack.store import Store
from tests.support import dvclive_sources, event_sources, sources, wandb_sources


def folder_of_several(folder: Path) -> Path:
    folder.mkdir()
    sources.unpack("mlflow-3.12.0-mlruns", folder)
    sources.unpack("mlflow-3.17.2-sqlite", folder)
    wandb_sources.unpack(folder)
    dvclive_sources.unpack(folder)
    (folder / "data.csv").write_text("step,loss\n1,2\n")
    return folder


def test_other_kinds_in_a_folder_are_named(tmp_path: Path) -> None:
    source = folder_of_several(tmp_path / "project")
    report = import_source(Store.create(tmp_path / "store"), source)
    assert report.kind == "mlruns"
    assert report.other_kinds == {"mlflow-db": ["mlflow.db"], "wandb": ["wandb"], "dvclive": ["dvclive"]}
    named = import_source(Store.create(tmp_path / "other"), source, "wandb")
    assert (named.kind, named.other_kinds) == ("wandb", {})


def test_what_is_in_a_source_is_not_another_one(tmp_path: Path) -> None:
    source = sources.unpack("mlflow-3.12.0-mlruns", tmp_path)
    artifacts = next(source.glob("*/*/artifacts"))
    event_sources.unpack(artifacts)
    assert others_in(source, "mlruns") == {}
    assert others_in(wandb_sources.unpack(tmp_path), "wandb") == {}
