"""What a pull from a lake brings besides runs: experiments, registered models, logged models and traces.

Many stores may have sent one thing: the newest of their rows counts. What is here already stays as it is, and gets what
it lacks: versions, params, tags, metrics, files.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from mltrack.disk.artifact_files import store_stream
from mltrack.disk.fields import EXPERIMENT_ID
from mltrack.disk.layout import is_model_id
from mltrack.disk.line_types import FACTS
from mltrack.entities import DELETED, MODEL_STAGES, ModelMetric
from mltrack.errors import AlreadyExistsError, MltrackError, NotFoundError, RemoteError, UsageError
from mltrack.importers.span_heads import read_span, spans_fact
from mltrack.storage.models.state import identity
from mltrack.storage.traces.figures import cost_of, json_object, token_usage_of
from mltrack.storage.traces.trace import COST, SESSION, TOKENS
from mltrack_sync.lake.blobs import BlobChangedError, blob_path
from mltrack_sync.lake.latest_rows import newest_rows

if TYPE_CHECKING:
    from mltrack.entities import ModelVersion
    from mltrack.storage.registry.state import RegistryState
    from mltrack.store import Store
    from mltrack_sync.lake.lake import Lake
    from mltrack_sync.remotes.options import PullOptions

__all__ = ["OthersPull"]

NS_PER_US = 1_000
NO_STAGE = "None"
PENDING = "PENDING"
_GIVEN = ("client_request_id", "request_preview", "response_preview")
"""Of traces: what a row has among its metadata, under ``mltrack.NAME``."""

_BROKEN = (LookupError, TypeError, ValueError, AttributeError)
"""What texts of JSON raise that are none, or are of another form."""

Fields = dict[str, Any]


@dataclass(slots=True)
class OthersPull:
    """Brings what belongs to no run.

    Attributes:
        store: The store.
        lake: The lake.
        options: What is wanted.
        counts: Of the report.
        problems: Of the report.
    """

    store: Store
    lake: Lake
    options: PullOptions
    counts: dict[str, Any]
    problems: list[str]
    _experiments: dict[str, Fields] | None = field(default=None)
    _versions: dict[str, list[Fields]] | None = field(default=None)

    def _rows(self, table: str) -> list[Fields]:
        return newest_rows(self.lake.scan(), table)

    # --- experiments ---

    def experiment(self, experiment_id: str, name: str = "") -> None:
        """Make an experiment that is not here; where another one has its name, nothing is done.

        Raises:
            UsageError: that can be no experiment's id.
            RemoteError: the lake can't be read.
        """
        workspace = self.store.workspace
        if experiment_id in workspace.experiments():
            return
        if not EXPERIMENT_ID.check(experiment_id):
            raise UsageError(f"{experiment_id!r} is not the id of an experiment", hint="the lake's row is broken")
        if self._experiments is None:
            self._experiments = {row["experiment_id"]: row for row in self._rows("experiments")}
        row = self._experiments.get(experiment_id, {"name": name, "tags": {}, "creation_time": 0})
        with contextlib.suppress(AlreadyExistsError):
            made = {"experiment_id": experiment_id, "created": row["creation_time"] * NS_PER_US}
            workspace.create(row["name"], row["tags"], **made)
            if row.get("lifecycle_stage") == DELETED:
                workspace.set_stage(experiment_id, DELETED)
            self.counts["experiments"] += 1

    # --- all ---

    def run(self, run_ids: Collection[str]) -> None:
        """Bring what a selection takes along: of everything, all; else logged models of runs, traces of experiments.

        Args:
            run_ids: The selected runs.

        Raises:
            RemoteError: the lake can't be read.
        """
        everything = self.options.selection.everything
        if everything:
            rows = self._rows("experiments")
            self._each("experiment", "experiment_id", rows, lambda row: self.experiment(row["experiment_id"]))
        self._each("registered model", "name", self._rows("registered_models"), self._registered_model)
        used = {} if everything else self._models_of(run_ids)
        models = [row for row in self._rows("logged_models") if everything or row["model_id"] in used]
        self._each("logged model", "model_id", models, self._logged_model)
        wanted = set(self.options.selection.experiments)
        names = {each.experiment_id: each.name for each in self.store.experiments(deleted=True)}
        if everything or wanted:
            traces = [row for row in self._rows("traces") if everything or names.get(row["experiment_id"]) in wanted]
            self._each("trace", "trace_id", traces, self._trace)

    def _models_of(self, run_ids: Collection[str]) -> dict[str, str]:
        rows = self.lake.scan().rows("models", ["model_id", "run_id"], {"run_id": set(run_ids)})
        return dict(zip(*(rows.column(name).to_pylist() for name in rows.column_names), strict=True))

    def _each(self, what: str, key: str, rows: list[Fields], bring: Any) -> None:
        for row in rows:
            if self.options.stop.is_set():
                return
            try:
                bring(row)
            except RemoteError:
                raise
            except (MltrackError, OSError) as error:
                self.problems.append(f"{what} {row[key]!r}: {error}")
            except _BROKEN as error:
                self.problems.append(f"{what} {row[key]!r}: the lake's row is broken: {error!r:.200}")

    # --- the registry ---

    def _registered_model(self, row: Fields) -> None:
        name, registry = row["name"], self.store.registry
        versions = sorted(self._rows_of_versions(name), key=lambda each: int(each["version"]))
        if self.options.dry_run:
            try:
                here, is_new = {(each.creation_time, each.source) for each in registry.versions(name)}, False
            except NotFoundError:
                here, is_new = set(), True
            new = sum(_mark(each) not in here for each in versions)
            self.counts["models"] += is_new or new > 0
            self.counts["model_versions"] += new
            return
        added = registry.add_lines(lambda state: _model_lines(state, row))
        numbers: dict[int, int] = {}
        known = _Known()
        for version in versions:
            lines = registry.add_lines(partial(_version_lines, row=version, numbers=numbers, known=known))
            self.counts["model_versions"] += lines > 0
            added += lines
        added += registry.add_lines(lambda state: _alias_lines(state, row, numbers))
        added += registry.add_lines(lambda state: _updated_lines(state, row) if added else [])
        self.counts["models"] += added > 0

    def _rows_of_versions(self, name: str) -> list[Fields]:
        if self._versions is None:
            self._versions = {}
            for row in self._rows("model_versions"):
                self._versions.setdefault(row["name"], []).append(row)
        return self._versions.get(name, [])

    # --- logged models ---

    def _logged_model(self, row: Fields) -> None:
        model_id, models = row["model_id"], self.store.logged_models
        if not is_model_id(model_id):
            raise UsageError("that is not the id of a logged model", hint="the lake's row is broken")
        is_new = not models.has(model_id)
        if self.options.dry_run:
            self.counts["logged_models"] += is_new
            return
        if is_new:
            self.experiment(row["experiment_id"])
            models.create(
                row["experiment_id"],
                row["name"],
                model_type=row["model_type"],
                source_run_id=row["run_id"],
                tags=row["tags"],
                params=row["params"],
                model_id=model_id,
                created=row["creation_time"] * NS_PER_US,
            )
        before = models.get(model_id)
        models.log_params(model_id, {k: v for k, v in row["params"].items() if k not in before.params})
        models.set_tags(model_id, {k: v for k, v in row["tags"].items() if k not in before.tags})
        held = {identity(metric) for metric in before.metrics}
        metrics = [ModelMetric(**{**each, "seq": -1}) for each in json.loads(row["metrics"])]
        models.log_metrics(model_id, [metric for metric in metrics if identity(metric) not in held])
        is_whole = self._model_files(model_id, json.loads(row["files"]), {each.path for each in before.artifacts})
        if before.status == PENDING and is_whole and row["status"] != PENDING:
            models.set_status(model_id, row["status"], row["status_message"])
        if is_new and row["lifecycle_stage"] == DELETED:
            models.set_stage(model_id, DELETED)
        self.counts["logged_models"] += models.get(model_id).position > (0 if is_new else before.position)

    def _model_files(self, model_id: str, files: list[Fields], held: Collection[str]) -> bool:
        """Bring the files that are wanted and not here; whether all are here."""
        is_whole = True
        root = self.store.logged_models.folder(model_id).artifacts
        for each in files:
            if each["path"] in held:
                continue
            bound = self.options.artifact_bytes_max
            if not (bound is None or each["size"] <= bound > 0) or not self.options.wants_artifact(each["path"]):
                self.counts["skipped_artifacts"] += 1
                is_whole = False
                continue
            with self.lake.tables.files.open(blob_path(each["sha256"])) as stream:
                stored = store_stream(stream, root, each["path"])
            if stored.sha256 != each["sha256"]:
                (root / stored.path).unlink()
                raise BlobChangedError(f"the lake has other bytes of {each['path']!r}", hint="see: mltrack verify")
            self.store.logged_models.add_artifacts(model_id, [(stored.path, stored.size, stored.sha256)])
            self.counts["artifacts"] += 1
            self.counts["artifact_bytes"] += stored.size
        return is_whole

    # --- traces ---

    def _trace(self, row: Fields) -> None:
        trace_id, traces = row["trace_id"], self.store.traces
        local = traces.find(trace_id)
        if local is not None and local.born and (local.final or row["state"] == "IN_PROGRESS"):
            return
        self.counts["traces"] += 1
        if self.options.dry_run:
            return
        self.experiment(row["experiment_id"])
        facts = list(_trace_facts(row))
        _check_facts(*facts)
        contents = json.loads(row["spans"])
        held = {} if local is None else {head.span_id: head.end for head in local.spans.values()}
        spans = [read_span(content) for content in contents]
        spans = [span for span in spans if (span.head["id"], span.head.get("end")) not in held.items()]
        if spans:
            fact = spans_fact(trace_id, spans) | {"tags": {}}
            _check_facts(fact | {"at": [0, 0]})
            traces.add_spans(row["experiment_id"], [fact], [[span.content for span in spans]])
        traces.add(row["experiment_id"], *facts)
        traces.sync(row["experiment_id"])


def _check_facts(*facts: Fields) -> None:
    for fact in facts:
        fault = FACTS.fault({"seq": 0, "time": 0, **fact})
        if fault is not None:
            raise UsageError(f"a fact that {fault}", hint="it can't be stored")


def _mark(version: Fields) -> tuple[int, str]:
    """By what a version is known that may have another number here: when it was made (ms), and of what."""
    return version["creation_time"] // 1000, version["source"]


def _model_lines(state: RegistryState, row: Fields) -> list[Fields]:
    if row["name"] in state.models:
        return []
    made = {"type": "create", "name": row["name"], "description": row["description"], "tags": row["tags"]}
    return [{**made, "time": row["creation_time"] * NS_PER_US}]


class _Known:
    """The numbers of a model's versions here, by what they are known by."""

    def __init__(self) -> None:
        self._count = -1
        self._numbers: dict[tuple[int, str], int] = {}

    def number(self, versions: Mapping[int, ModelVersion], mark: tuple[int, str]) -> int | None:
        """That of the version with this mark; None for none. All are looked at where others were added meanwhile."""
        if len(versions) != self._count:
            self._numbers.clear()
            for number, version in versions.items():
                self._numbers.setdefault((version.creation_time, version.source), number)
            self._count = len(versions)
        return self._numbers.get(mark)

    def add(self, mark: tuple[int, str], number: int) -> None:
        """Note a version that is about to be added."""
        self._numbers.setdefault(mark, number)
        self._count += 1


def _version_lines(state: RegistryState, row: Fields, numbers: dict[int, int], known: _Known) -> list[Fields]:
    """The lines of a version that is not here; ``numbers`` gets its number here by the one in the lake."""
    name, wanted = row["name"], int(row["version"])
    held = known.number(state.versions[name], _mark(row))
    if held is not None:
        numbers[wanted] = held
        return []
    number = numbers[wanted] = state.free_number(name, wanted)
    known.add(_mark(row), number)
    named = {"name": name, "version": number}
    made = {"run_id": row["run_id"], "model_id": row["model_id"], "source": row["source"], "tags": row["tags"]}
    created, updated = row["creation_time"] * NS_PER_US, row["last_update_time"] * NS_PER_US
    lines = [{"type": "create_version", **named, **made, "description": row["description"], "time": created}]
    if row["stage"] in MODEL_STAGES and row["stage"] != NO_STAGE:
        lines.append({"type": "stage", **named, "stage": row["stage"], "time": updated})
    elif updated != created:
        lines.append({"type": "update_version", **named, "description": row["description"], "time": updated})
    return lines


def _alias_lines(state: RegistryState, row: Fields, numbers: dict[int, int]) -> list[Fields]:
    """The lines of aliases that are not here, of versions that are."""
    name, held = row["name"], state.models[row["name"]].aliases
    places = {alias: numbers.get(int(version)) for alias, version in row["aliases"].items() if alias not in held}
    return [
        {"type": "alias", "name": name, "alias": alias, "version": number, "time": row["last_update_time"] * NS_PER_US}
        for alias, number in places.items()
        if number is not None
    ]


def _updated_lines(state: RegistryState, row: Fields) -> list[Fields]:
    """The line that gives a model the time of its last change in the lake."""
    held = state.models[row["name"]]
    if held.description != row["description"] or held.last_update_time >= row["last_update_time"] // 1000:
        return []
    updated = row["last_update_time"] * NS_PER_US
    return [{"type": "update", "name": row["name"], "description": row["description"], "time": updated}]


def _trace_facts(row: Fields) -> Iterator[Fields]:
    trace_id = row["trace_id"]
    metadata = dict(row["metadata"])
    given = {name: metadata.pop(f"mltrack.{name}", None) for name in _GIVEN}
    fact: Fields = {
        "type": "info",
        "trace_id": trace_id,
        "request_time": row["start_ns"] // 1_000_000,
        "duration": None if row["duration_ns"] is None else row["duration_ns"] // 1_000_000,
        "state": row["state"],
        "tags": row["tags"],
        "final": row["state"] != "IN_PROGRESS",
        **{name: text for name, text in given.items() if text is not None},
    }
    if SESSION in metadata:
        fact["session"] = metadata.pop(SESSION)
    if TOKENS in metadata:
        fact["tokens"] = token_usage_of(json_object(metadata.pop(TOKENS)) or {}, unusable=True)
    if COST in metadata:
        fact["cost"] = cost_of(json_object(metadata.pop(COST)) or {}, unusable=True)
    yield {**fact, "metadata": metadata}
    for record in json.loads(row["assessments"]):
        kept = {name: value for name, value in record.items() if value is not None and name != "valid"}
        yield {"type": "assessment", "trace_id": trace_id, "assessment": kept}
    if row["run_id"]:
        yield {"type": "run", "trace_id": trace_id, "run_id": row["run_id"], "linked": True}
