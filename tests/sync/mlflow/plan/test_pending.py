"""What is pending, found in one place: a push sends what the dry run said, and status counts the same.

Random stores are recorded and changed, and pushed again and again; some pushes are broken off at a random request, with
its answer lost.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import mlflow
import pytest

import mltrack
from mltrack.entities import DELETED, ModelMetric
from mltrack.store import Store
from mltrack_sync import PushReport, Remote, Selection, push
from mltrack_sync.errors import RemoteUnavailableError
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.remotes.ledgers import read_ledger
from mltrack_sync.status import status_of
from tests.support.mlflow_recording import mlflow_on, trace_once, uri_of
from tests.support.model_recording import put_file, record_model
from tests.support.proxy import Cut, Fault, FaultyProxy, LoseAnswer, Seen
from tests.support.server import MlflowServer

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's and its libraries', not ours

SEEDS = [random.randrange(1 << 30) for _ in range(8)] if "MLTRACK_TEST_RANDOM" in os.environ else [1, 2, 3, 4]
ROUNDS = 4
CHANGES = 7

EQUAL = ("runs", "params", "tags", "artifacts", "artifact_bytes", "datasets", "logged_models", "traces")
"""Counts of a report that the dry run knows whatever was in doubt."""


@dataclass
class Recording:
    """Draws what is recorded next into a store."""

    store: Store
    experiment: str
    chance: random.Random
    prefix: str
    runs: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    traces: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def change(self) -> None:
        """One change of any kind."""
        kinds: list[Callable[[], None]] = [self.run, self.run, self.more_of_a_run, self.model, self.trace]
        kinds += [self.stage_of_a_run, self.registered, self.change_of_a_model, self.change_of_a_version]
        kinds += [self.change_of_a_trace]
        self.chance.choice(kinds)()

    # --- runs ---

    def run(self) -> None:
        chance = self.chance
        parent = chance.choice(self.runs) if self.runs and chance.random() < 0.4 else None
        with mltrack.start_run(run_name=f"run {len(self.runs)}", parent_run_id=parent, tags={"team": "a"}) as run:
            self._log(run)
        self.runs.append(run.run_id)

    def more_of_a_run(self) -> None:
        active = [i for i in self.runs if self.store.run(i).info.lifecycle_stage != DELETED]
        if active:
            with mltrack.start_run(self.chance.choice(active)) as run:
                self._log(run)

    def _log(self, run: mltrack.Run) -> None:
        chance, number = self.chance, self.chance.randrange(1 << 30)
        for step in range(chance.choice((0, 3, 40, 1500))):
            run.log_metric(chance.choice(("loss", "acc", "not % taken")), chance.choice((0.5, 1.5)), step=step % 30)
        for n in range(chance.randrange(3)):
            run.log_param(f"p{number}.{n}", "x" * chance.choice((1, 1, 1, 7000)))
        run.set_tag(chance.choice(("a", "b")), "y" * chance.choice((1, 2, 3, 9000)))
        if chance.random() < 0.3:
            run.set_tag("gone", "1")
            run.delete_tag("gone")
        for _ in range(chance.randrange(3)):
            run.log_text(str(number), f"files/{chance.randrange(4)}.txt")
        if chance.random() < 0.4:
            run.log_input(mltrack.Dataset(f"set {chance.randrange(3)}", str(number % 3), "local", "{}", None, None))

    def stage_of_a_run(self) -> None:
        if self.runs:
            run_id = self.chance.choice(self.runs)
            deleted = self.store.run(run_id).info.lifecycle_stage == DELETED
            (self.store.restore_run if deleted else self.store.delete_run)(run_id)

    # --- logged models and the registry ---

    def model(self) -> None:
        active = [i for i in self.runs if self.store.run(i).info.lifecycle_stage != DELETED]
        if active:
            self.models.append(record_model(self.store, self.chance.choice(active)))

    def change_of_a_model(self) -> None:
        if not self.models:
            return
        model_id, models, number = self.chance.choice(self.models), self.store.logged_models, self.chance.randrange(999)
        if models.get(model_id).lifecycle_stage == DELETED:
            return
        match self.chance.randrange(5):
            case 0:
                models.set_stage(model_id, DELETED)
            case 1:
                models.set_tags(model_id, {"quality": str(number), "old": None})
            case 2:
                put_file(self.store, model_id, f"more/{number}.txt", b"words")
            case 3:
                models.log_params(model_id, {f"p{number}": "1"})
            case _:
                run_id = str(models.get(model_id).source_run_id)
                models.log_metrics(model_id, [ModelMetric("acc", 0.5, number, 1_700_000_000_000, run_id)])

    def registered(self) -> None:
        chance, registry = self.chance, self.store.registry
        if len(self.names) < 2:
            self.names.append(f"{self.prefix} {len(self.names)}")
        sources = [f"runs:/{run_id}/files" for run_id in self.runs] + [f"models:/{m}" for m in self.models]
        sources += [f"models:/{v.name}/{v.version}" for v in registry.versions() if v.name in self.names]
        if sources:
            source = chance.choice(sources)
            run_id = source.split("/")[1] if source.startswith("runs:/") else None
            registry.create_version(chance.choice(self.names), source, run_id=run_id, create_model=True)

    def change_of_a_version(self) -> None:
        registry, chance = self.store.registry, self.chance
        versions = [version for version in registry.versions() if version.name in self.names]
        if not versions:
            return
        version = chance.choice(versions)
        at = (version.name, version.version)
        match chance.randrange(5):
            case 0:
                registry.update_version(*at, str(chance.random()))
            case 1:
                registry.set_version_tag(*at, "good", chance.choice(("yes", "no", None)))
            case 2:
                registry.set_alias(version.name, chance.choice(("champion", "other")), version.version)
            case 3:
                registry.set_model_tag(version.name, "team", chance.choice(("a", "b", None)))
            case _:
                registry.set_stage(*at, chance.choice(("Staging", "None", "Archived")))

    # --- traces ---

    def trace(self) -> None:
        active = [i for i in self.runs if self.store.run(i).info.lifecycle_stage != DELETED]
        with mlflow_on(uri_of(self.store), self.experiment):
            if active and self.chance.random() < 0.5:
                with mlflow.start_run(run_id=self.chance.choice(active)):
                    self.traces.append(trace_once(kind="a"))
            else:
                self.traces.append(trace_once(kind="t" * self.chance.choice((1, 9000))))

    def change_of_a_trace(self) -> None:
        if self.traces:
            with mlflow_on(uri_of(self.store), self.experiment) as client:
                trace_id = self.chance.choice(self.traces)
                client.set_trace_tag(trace_id, "late", str(self.chance.randrange(999)))
                mlflow.log_feedback(trace_id=trace_id, name="good", value=self.chance.random())


class BrokenOff:
    """The server gets the n-th request, but nobody hears of it, and no request after it arrives."""

    def __init__(self, proxy: FaultyProxy, count: int) -> None:
        self._proxy = proxy
        self._last = len(proxy.seen) + count

    def fault(self, seen: Seen) -> Fault:
        at = self._proxy.seen.index(seen) + 1
        return None if at < self._last else LoseAnswer() if at == self._last else Cut()


def there(server: MlflowServer, experiment: str, names: list[str]) -> tuple[set[str], set[str], set[str]]:
    """What the server has: ids of our runs, names of models, marks of versions."""
    found = server.post("experiments/search", max_results=1000, filter=f"name = '{experiment}'").get("experiments", [])
    runs = set(server.runs(experiment)) if found else set()
    models: set[str] = set()
    marks: set[str] = set()
    for name in names:
        rows = server.get("registered-models/search", filter=f"name = '{name}'").get("registered_models", [])
        models |= {row["name"] for row in rows}
        for row in server.get("model-versions/search", filter=f"name = '{name}'").get("model_versions", []):
            marks.add({tag["key"]: tag["value"] for tag in row["tags"]}["mltrack.model_version"])
    return runs, models, marks


def keys(report: PushReport) -> set[tuple[str, str, str]]:
    return {(item.run_id, item.kind, item.key) for item in report.rejected}


def assert_sent_as_told(
    store: Store, server: MlflowServer, remote: Remote, recording: Recording, policy: RetryPolicy
) -> None:
    chance = recording.chance
    picked = chance.sample(recording.runs, min(2, len(recording.runs))) if chance.random() < 0.3 else []
    asked: dict[str, Any] = {"selection": Selection(runs=tuple(picked)), "retry_rejected": chance.random() < 0.3}
    told, status = push(store, remote, dry_run=True, **asked), status_of(store, remote)
    state, (runs, models, marks) = read_ledger(store, remote), there(server, recording.experiment, recording.names)
    before = {key: item.points for key, item in state.rejected.items()}
    sent = push(store, remote, policy=policy, retry_cured=False, **asked)
    assert {name: getattr(told, name) for name in EQUAL} == {name: getattr(sent, name) for name in EQUAL}
    refused = sum(item.points - before.get((item.run_id, item.kind, item.key), 0) for item in sent.rejected)
    assert told.points == sent.points + sent.collapsed + sent.found + refused
    assert sent.found <= told.in_doubt <= told.points
    assert (keys(told), sorted(told.problems)) == (keys(sent), sorted(sent.problems))
    # what a lost answer made on the server, only the server can say
    found_runs = {run_id for run_id in runs if not (state.runs.get(run_id) and state.runs[run_id].remote_id)}
    found_models = {name for name in models if name not in state.models}
    known = {f"{name}/{number}" for name, entry in state.models.items() for number in entry.versions}
    found_versions = {mark for mark in marks if "/".join(mark.split("/")[1:3]) not in known}
    made = [(told.created, len(found_runs), sent.created), (told.models, len(found_models), sent.models)]
    made += [(told.model_versions, len(found_versions), sent.model_versions)]
    if picked:
        assert all(said - found <= did <= said for said, found, did in made), made
        return
    assert all(said - found == did for said, found, did in made), made
    counted = (status.pending_points, status.pending_artifacts, status.pending_bytes, status.pending_runs)
    if not asked["retry_rejected"]:
        assert counted == (told.points, told.artifacts, told.artifact_bytes, told.runs)
        assert (status.pending_logged_models, status.pending_traces) == (told.logged_models, told.traces)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_push_sends_what_the_dry_run_listed_and_status_counts_the_same(
    seed: int,
    store: Store,
    server: MlflowServer,
    proxy: FaultyProxy,
    spoiled: Remote,
    experiment: str,
    hasty: RetryPolicy,
) -> None:
    chance = random.Random(seed)
    recording = Recording(store, experiment, chance, f"m {experiment[-12:]}")
    recording.run()
    for _ in range(ROUNDS):
        for _ in range(chance.randint(1, CHANGES)):
            recording.change()
        if chance.random() < 0.6:
            proxy.fault = BrokenOff(proxy, chance.randint(2, 40)).fault
            try:
                push(store, spoiled, policy=hasty, retry_cured=False, jobs=chance.choice((1, 3)))
            except RemoteUnavailableError:
                pass  # broken off, as it was to be
            finally:
                proxy.fault = lambda seen: None
        proxy.wait_idle()
        assert_sent_as_told(store, server, spoiled, recording, hasty)
    push(store, spoiled, policy=hasty)
    again: dict[str, Any] = {name: getattr(push(store, spoiled, dry_run=True), name) for name in EQUAL}
    assert not any(again.values()), again


def test_finding_what_is_pending_does_not_import_the_http_client() -> None:
    code = "import sys, mltrack_sync.status, mltrack_sync.mlflow.plan.dry_run, mltrack_sync.mlflow.push.push; "
    code += "print(sorted({'httpx', 'httpcore', 'tenacity', 'pyarrow', 'duckdb'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
