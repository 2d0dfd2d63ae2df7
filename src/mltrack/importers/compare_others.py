"""Comparing what a source has besides runs with the store: logged models, registered models and traces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mltrack.environment import ORIGIN_MODEL_TAG, ORIGIN_TAG
from mltrack.errors import NotFoundError
from mltrack.importers.files import digest_of
from mltrack.importers.others import (
    is_selected,
    local_version,
    model_files,
    model_metrics,
    model_tags,
    trace_assessments,
    trace_spans,
)
from mltrack.storage.models.state import identity, is_same

if TYPE_CHECKING:
    from mltrack.importers.session import Session
    from mltrack.importers.sides import Sides
    from mltrack.importers.source import Source, SourceModel, SourceRegisteredModel, SourceTrace

__all__ = ["compare_others"]


def compare_others(sides: Sides, source: Source) -> None:
    """Compare each of them that is selected."""
    session = sides.session
    for model in source.logged_models():
        if is_selected(session, model.experiment):
            with session.naming(model.where):
                _compare_logged(sides, session, model)
    if session.options.everything:
        for registered in source.registered_models():
            with session.naming(registered.where):
                _compare_registered(sides, session, registered)
    for trace in source.traces():
        if is_selected(session, trace.experiment):
            with session.naming(trace.where):
                _compare_trace(sides, session, trace)


def _texts(sides: Sides, of: str, what: str, local: Mapping[str, str], source: Mapping[str, str]) -> None:
    for key, value in source.items():
        sides.equal(of, f"{what} {key}", local.get(key), value)


def _compare_logged(sides: Sides, session: Session, model: SourceModel) -> None:
    of = f"logged model {model.source_id}"
    try:
        local = session.store.logged_models.get(session.model_id(model.source_id, model.tags))
    except NotFoundError:
        sides.differ(of, "logged model", None, model.name)
        return
    session.counts["logged_models"] += 1
    sides.equal(of, "name", local.name, model.name or local.name)
    sides.equal(of, "status", local.status, model.status)
    _texts(sides, of, "param", local.params, model.params)
    tags = {
        key: value for key, value in model_tags(session, model).items() if key not in (ORIGIN_TAG, ORIGIN_MODEL_TAG)
    }
    _texts(sides, of, "tag", local.tags, tags)
    held = {identity(metric): metric for metric in local.metrics}
    for metric in model_metrics(session, model):
        mine = held.get(identity(metric))
        if mine is None or not is_same(mine, metric):
            sides.differ(of, f"metric {metric.key}", None if mine is None else mine.value, metric.value)
    if session.options.artifacts:
        known = {artifact.path: artifact.sha256 for artifact in local.artifacts}
        for file in model_files(session, model):
            with session.naming(model.where):
                if sides.equal(of, f"artifact {file.path}", known.get(file.path), digest_of(file)):
                    session.counts["artifacts"] += 1
                    session.counts["artifact_bytes"] += file.size


def _compare_registered(sides: Sides, session: Session, model: SourceRegisteredModel) -> None:
    of, registry = f"model {model.name}", session.store.registry
    try:
        local = registry.get_model(model.name)
    except NotFoundError:
        sides.differ(of, "registered model", None, model.name)
        return
    session.counts["models"] += 1
    left = {version.version: version for version in registry.versions(model.name)}
    numbers: dict[int, int] = {}
    _texts(sides, of, "tag", local.tags, model.tags)
    for version in model.versions:
        mine = local_version(session, version, left)
        if mine is None:
            sides.differ(of, f"version {version.version}", None, version.source)
            continue
        numbers[version.version] = left.pop(mine.version).version
        session.counts["model_versions"] += 1
        _texts(sides, f"{of} version {version.version}", "tag", mine.tags, version.tags)
        sides.equal(f"{of} version {version.version}", "stage", mine.stage, version.stage)
    for alias, number in model.aliases.items():
        sides.equal(of, f"alias {alias}", local.aliases.get(alias), numbers.get(number))


def _compare_trace(sides: Sides, session: Session, trace: SourceTrace) -> None:
    of, local = f"trace {trace.trace_id}", session.store.traces.find(trace.trace_id)
    if local is None or not local.born:
        sides.differ(of, "trace", None, trace.where)
        return
    session.counts["traces"] += 1
    for name in ("request_time", "duration", "state", "request_preview", "response_preview", "session"):
        if name in trace.info:
            sides.equal(of, name, getattr(local, name), trace.info[name])
    _texts(sides, of, "tag", local.tags, trace.info.get("tags", {}))
    _texts(sides, of, "metadata", local.metadata, trace.info.get("metadata", {}))
    for span in trace_spans(trace):
        head = local.spans.get(span.head["id"])
        found: Any = None if head is None else (head.name, head.start, head.end)
        sides.equal(of, f"span {span.head['id']}", found, (span.head["name"], span.head["start"], span.head.get("end")))
    for record in trace_assessments(session, trace):
        held = local.assessments.get(record["assessment_id"])
        value = None if held is None else held.value
        sides.equal(of, f"assessment {record.get('name')}", value, record.get("value"))
    for run in trace.runs:
        if session.run_id_of(run) not in local.run_ids:
            sides.differ(of, "link to a run", None, run)
