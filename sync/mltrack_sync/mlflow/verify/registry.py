"""Registered models and their versions, prompts among them, compared with those on the remote."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mltrack.environment import PROMPT_TAG, VERSION_TAG
from mltrack_sync.http.shapes import pairs
from mltrack_sync.ledger.registry import ModelEntry
from mltrack_sync.mlflow.api.registry import READY
from mltrack_sync.mlflow.plan.fallback import where_in_run
from mltrack_sync.mlflow.plan.kinds import ALIAS, MODEL, MODEL_VERSION
from mltrack_sync.mlflow.plan.pending_registry import (
    has_mark,
    is_prompt,
    model_changes,
    version_mark,
)
from mltrack_sync.mlflow.plan.version_sources import MODEL_SOURCE, RUN_SOURCE
from mltrack_sync.mlflow.verify.findings import NOTHING, Findings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mltrack.entities import ModelVersion, RegisteredModel
    from mltrack.store import Store
    from mltrack_sync.mlflow.api.readback import ComparedClient, Fields
    from mltrack_sync.mlflow.plan.pending_registry import PendingModel
    from mltrack_sync.mlflow.verify.remote_ids import RemoteIds

__all__ = ["RegistryVerify"]


@dataclass(frozen=True, slots=True)
class RegistryVerify:
    """Compares registered models, each with the given versions.

    ``waiting`` holds what the ledger lacks, by name. ``lacks_models`` says that the remote has no logged models:
    versions that were made of these and never sent are skipped.
    """

    store: Store
    client: ComparedClient
    ids: RemoteIds
    waiting: Mapping[str, PendingModel]
    lacks_models: bool

    def compare(self, todo: PendingModel) -> Iterator[Findings]:
        """Compare one model, and each version.

        Raises:
            RemoteError: see mltrack_sync.errors.
        """
        model, waits = todo.model, self.waiting.get(todo.model.name)
        what = "prompt" if is_prompt(model) else "model"
        findings = Findings(subject=f"{what} {model.name}", kind=MODEL, key=model.name)
        found = self.client.registered_model(model.name)
        if found is None:
            findings.waits = waits is not None
            findings.differs(what, f"present with {_versions(len(todo.versions))}", NOTHING)
            yield findings
            return
        rows = self.client.versions(model.name, prompts=is_prompt(model))
        marked = {version.version: self._of(version, rows) for version in todo.versions}
        findings.counts["models"] += 1
        findings.waits = waits is not None and self._is_behind(model)
        self._model(model, found, findings)
        yield findings
        yield from self._aliases(model, found, marked, findings.subject)
        late = {version.version for version in waits.versions} if waits is not None else set()
        for version in todo.versions:
            compared = self._version(version, marked[version.version], version.version in late)
            if compared is not None:
                yield compared

    def _is_behind(self, model: RegisteredModel) -> bool:
        """Whether the ledger's entry of the model, versions and aliases apart, is not up to date."""
        entry = self._entry(model.name)
        changes = model_changes(model, entry, ())
        return not entry.made or changes.description is not None or bool(changes.tags)

    def _entry(self, name: str) -> ModelEntry:
        return self.ids.state.models.get(name) or ModelEntry()

    def _of(self, version: ModelVersion, rows: Sequence[Fields]) -> list[Fields]:
        """Those on the remote that carry the version's tag, lowest number first."""
        mark = version_mark(self.store.store_id, version)
        found = [row for row in rows if has_mark(mark, *_number_and_time(row), pairs(row, "tags"))]
        return sorted(found, key=lambda row: int(row["version"]))

    # --- models ---

    def _model(self, model: RegisteredModel, found: Fields, findings: Findings) -> None:
        if model.description != (found.get("description") or ""):
            findings.text_differs("description", model.description, found.get("description") or "")
        remote = pairs(found, "tags")
        keys = model.tags.keys() | (self._entry(model.name).tags.keys() & remote.keys())  # those removed here, too
        findings.counts["tags"] += findings.texts("tag", model.tags, remote, keys)

    def _aliases(
        self, model: RegisteredModel, found: Fields, marked: Mapping[int, list[Fields]], subject: str
    ) -> Iterator[Findings]:
        known = self._entry(model.name).aliases
        remote = {str(row["alias"]): str(row["version"]) for row in found.get("aliases") or []}
        for alias in sorted(model.aliases.keys() | (known.keys() & remote.keys())):
            number, seen = model.aliases.get(alias), remote.get(alias)
            if number is not None and number not in marked:
                continue  # of a version that is not selected
            numbers = [str(row["version"]) for row in marked[number]] if number is not None else [None]
            if seen in numbers:
                continue
            findings = Findings(subject=subject, kind=ALIAS, key=f"{model.name}@{alias}")
            findings.waits = known.get(alias) != number
            shown = NOTHING if seen is None else self._called(seen, marked)
            findings.differs(f"alias {alias!r}", NOTHING if number is None else f"version {number}", shown)
            yield findings

    @staticmethod
    def _called(number: str, marked: Mapping[int, list[Fields]]) -> str:
        """A version on the remote, by its remote and local numbers."""
        mine = [local for local, rows in marked.items() if any(str(row["version"]) == number for row in rows)]
        return f"version {number} on the remote" + (f" (locally {mine[0]})" if mine else "")

    # --- versions ---

    def _version(self, version: ModelVersion, rows: Sequence[Fields], waits: bool) -> Findings | None:
        key = f"{version.name}/{version.version}"
        what = "prompt version" if version.tags.get(PROMPT_TAG) == "true" else "model version"
        findings = Findings(subject=f"{what} {key}", kind=MODEL_VERSION, key=key, waits=waits)
        if not rows:
            never = self._entry(version.name).version(version) is None
            if never and self.lacks_models and version.source.startswith(f"{MODEL_SOURCE}m-"):
                return None
            findings.differs(what, "present", NOTHING)
            return findings
        findings.counts["model_versions"] += 1
        if len(rows) > 1:
            findings.differs(what, "one", f"{len(rows)} times: {', '.join(str(row['version']) for row in rows)}")
        self._fields(version, rows[0], findings)
        return findings

    def _fields(self, version: ModelVersion, row: Fields, findings: Findings) -> None:
        known = self._entry(version.name).version(version)
        findings.equal("status", READY, row.get("status") or READY)
        if version.description != (row.get("description") or ""):
            findings.text_differs("description", version.description, row.get("description") or "")
        findings.equal("stage", version.stage, row.get("current_stage") or "None")
        remote = pairs(row, "tags")
        gone = known.tags.keys() & remote.keys() if known is not None else set()
        keys = (version.tags.keys() | gone) - {VERSION_TAG}
        findings.counts["tags"] += findings.texts("tag", version.tags, remote, keys)
        source, seen = self._source(version), self.ids.current(row.get("source") or "")
        if source is not None and seen not in (source, self._in_run(version)):
            findings.differs("source", source, seen)
        run_id = self._run(version)
        if run_id is not None:
            findings.equal("run", run_id, self.ids.current(row.get("run_id") or ""))

    def _source(self, version: ModelVersion) -> str | None:
        """Where its files must be on the remote; None where a remote without logged models has them elsewhere."""
        state, source = self.ids.state, version.source
        if source.startswith(f"{MODEL_SOURCE}m-"):
            model_id, _, path = source.removeprefix(MODEL_SOURCE).partition("/")
            entry = state.logged.get(model_id)
            if entry is None or not entry.remote_id:
                return self._in_run(version) or (None if self.lacks_models else source)
            if version.as_address or path:
                return posixpath.join(entry.uri, path) if path else entry.uri
            return f"{MODEL_SOURCE}{entry.remote_id}"
        if source.startswith(MODEL_SOURCE):
            name, _, number = source.removeprefix(MODEL_SOURCE).rpartition("/")
            known = self._entry(name).versions.get(int(number)) if number.isdecimal() else None
            return source if known is None else f"{MODEL_SOURCE}{name}/{known.remote}"
        if source.startswith(RUN_SOURCE):
            run_id, _, path = source.removeprefix(RUN_SOURCE).partition("/")
            run = state.runs.get(run_id)
            return source if run is None else posixpath.join(run.artifact_uri, path) if path else run.artifact_uri
        return source

    def _in_run(self, version: ModelVersion) -> str | None:
        """Where its files are if it was sent before the remote had logged models."""
        if not version.source.startswith(f"{MODEL_SOURCE}m-"):
            return None
        model_id, _, path = version.source.removeprefix(MODEL_SOURCE).partition("/")
        where = where_in_run(self.store, self.ids.state, model_id)
        if isinstance(where, str):
            return None
        return posixpath.join(where[0], path) if path else where[0]

    def _run(self, version: ModelVersion) -> str | None:
        """The run it must belong to; None where the server determines that itself."""
        if version.run_id:
            return self.ids.run(version.run_id)
        if version.source.startswith(RUN_SOURCE):
            return self.ids.run(version.source.removeprefix(RUN_SOURCE).partition("/")[0])
        return None if version.source.startswith(MODEL_SOURCE) else ""


def _number_and_time(row: Fields) -> tuple[int, int]:
    return int(row["version"]), int(row.get("creation_timestamp") or 0)


def _versions(count: int) -> str:
    return f"{count:,} version{'' if count == 1 else 's'}"
