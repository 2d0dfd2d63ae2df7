"""Servers of older MLflow versions and of the newest: each gets everything that it supports, once, and gives it back.

Each version is installed into a virtual environment of its own in the folder for temporary files, where the next run
finds it again.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.genai.label_schemas import InputText, LabelSchemaType

import mltrack
from mltrack.mlflow_plugin.tables_reader import read_tables, stored_records
from mltrack.mlflow_plugin.tracking import TrackingStore
from mltrack.store import Store
from mltrack_sync import Remotes, Selection, push
from mltrack_sync.engine.pull import pull
from mltrack_sync.engine.verify import verify
from mltrack_sync.ledger.ledger import LedgerState
from mltrack_sync.mlflow.api.capabilities import EVALUATION_DATASETS, LABEL_SCHEMAS, SCORERS
from mltrack_sync.remotes.ledgers import read_ledger
from tests.support.server import MlflowServer
from tests.support.small_records import record_trace
from tests.support.tables import judge

pytestmark = [pytest.mark.mlflow_versions, pytest.mark.timeout(900)]

NEWEST = "newest"
TRACES = 12
"""So many that the newest servers get their infos before their spans."""

TABLES = (EVALUATION_DATASETS, SCORERS, LABEL_SCHEMAS)

VERSIONS = {
    # what the servers of a version do not support
    "2.9": {"logged models", "traces", *TABLES},
    "2.22": {"logged models", "traces", *TABLES},
    "3.1": set(TABLES),
    "3.10": {"label schemas"},
    NEWEST: set[str](),
}

TAKE_SPANS = ("3.10", NEWEST)
"""Those that take spans: older ones have no place for a push's."""


def environment(version: str) -> Path:
    """The interpreter of an environment with that version, which is made if there is none."""
    if version == NEWEST:
        return Path(sys.executable)  # the project's own requirements take the newest
    place = Path(tempfile.gettempdir()) / f"mltrack-tests-mlflow-{version}"
    python = place / "bin" / "python"
    with open(place.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if subprocess.run([python, "-c", "import mlflow"], capture_output=True).returncode if python.exists() else True:
            subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
            wanted = [f"mlflow=={version}.*", "setuptools<80", "sqlalchemy<2.1"]  # what older ones import
            options = ["--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
            subprocess.run([python, "-m", "pip", "install", *options, *wanted], check=True)
    return python


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """A version of MLflow."""
    return str(request.param)


@pytest.fixture
def aged(version: str, tmp_path: Path) -> Iterator[MlflowServer]:
    """A server of it."""
    folder = tmp_path / "server"
    folder.mkdir()
    server = MlflowServer(folder, python=environment(version))
    try:
        server.start()
        yield server
    finally:
        server.close()


def record(store: Store) -> str:
    """A run with something of each kind, a registered model, a logged model and traces; returns the run's id."""
    with mltrack.start_run(run_name="all of it", tags={"kind": "a"}) as run:
        mltrack.log_params({"lr": 0.1, "name": "ü"})
        for step in range(2500):
            mltrack.log_metric("loss", 1 / (step + 1), step=step)
        mltrack.log_metric("odd", float("nan"), step=0)
        mltrack.log_text("hello", "notes/hello.txt")
    store.logged_models.create(run.info.experiment_id, "tree", source_run_id=run.run_id)
    for number in range(1, TRACES + 1):
        record_trace(store, run.info.experiment_id, number, run.run_id, spans_ms=7 + number % 2)
    tracking = TrackingStore(f"mltrack://{store.path}")
    dataset = tracking.create_dataset("questions", experiment_ids=[run.info.experiment_id]).dataset_id
    tracking.upsert_dataset_records(dataset, [{"inputs": {"q": n}} for n in range(3)])
    for words in ("first", "second"):
        tracking.register_scorer(run.info.experiment_id, "short", judge(words))
    kind, answers = LabelSchemaType.FEEDBACK, InputText()
    tracking.create_label_schema(run.info.experiment_id, name="good", type=kind, input=answers)
    store.registry.create_model("tree")
    store.registry.create_version("tree", f"runs:/{run.run_id}/notes", run_id=run.run_id)
    return run.run_id


def test_a_server_gets_what_it_supports_once_and_gives_it_back(
    version: str, aged: MlflowServer, store: Store, experiment: str, tmp_path: Path
) -> None:
    run_id = record(store)
    lab = Remotes(store).add("lab", aged.url)
    report = push(store, lab)
    assert report.problems == ()
    assert report.rejected == ()
    assert {words.partition(":")[0] for words in report.unsupported} >= VERSIONS[version]
    assert report.evaluation_items == len(set(TABLES) - VERSIONS[version])
    assert (report.runs, report.model_versions) == (1, 1)
    assert report.traces == (TRACES if version in TAKE_SPANS else 0)
    assert verify(store, lab).differences == ()
    again = push(store, lab)
    assert (again.runs, again.points, again.artifacts, again.model_versions, again.traces) == (0, 0, 0, 0, 0)
    state: LedgerState = read_ledger(store, lab)
    (remote,) = aged.runs(experiment).values()
    assert state.runs[run_id].remote_id == remote["info"]["run_id"]
    assert sum(1 for _ in aged.history(remote["info"]["run_id"], "loss")) == 2500
    other = Store.create(tmp_path / "other" / ".mltrack")
    pulled = pull(other, Remotes(other).add("lab", aged.url), selection=Selection(experiments=(experiment,)))
    assert (pulled.problems, pulled.runs, pulled.points) == ((), 1, 2501)
    assert other.run(run_id).metrics("loss").num_rows == 2500
    assert pulled.evaluation_items == report.evaluation_items
    delete_some(store)
    again = push(store, lab)
    if EVALUATION_DATASETS in VERSIONS[version]:
        assert again.evaluation_items == 0
    else:
        assert (again.problems, again.evaluation_items) == ((), 2)
    assert verify(store, lab).differences == ()


def delete_some(store: Store) -> None:
    """A record, and a scorer's version."""
    tracking = TrackingStore(f"mltrack://{store.path}")
    (dataset,) = read_tables(store).datasets
    stored = stored_records(store, dataset.dataset_id)
    assert tracking.delete_dataset_records(dataset.dataset_id, [stored[0].record_id]) == 1
    (scorer,) = read_tables(store).scorers
    tracking.delete_scorer(scorer.experiment_id, scorer.name, version=1)
