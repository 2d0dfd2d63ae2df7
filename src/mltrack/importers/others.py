"""What a source has besides runs: logged models, registered models and traces, each written where it is new."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from typing import IO, TYPE_CHECKING, Any

from mltrack.disk.line_types import FACTS
from mltrack.entities import DELETED, ModelMetric
from mltrack.environment import MODEL_ID_TAG, ORIGIN_MODEL_TAG, ORIGIN_TAG
from mltrack.errors import NotFoundError
from mltrack.importers.files import FileImport, pieces_of
from mltrack.importers.source import SourceError, SourceFile
from mltrack.importers.span_heads import read_span, spans_fact
from mltrack.storage.models.state import identity
from mltrack.storage.registry.state import RegistryState

if TYPE_CHECKING:
    from mltrack.disk.artifact_files import Stored
    from mltrack.entities import ModelVersion
    from mltrack.importers.session import Session
    from mltrack.importers.source import Source, SourceModel, SourceRegisteredModel, SourceTrace, SourceVersion
    from mltrack.importers.span_heads import Span
    from mltrack.storage.traces.trace import Trace

__all__ = [
    "bring_others",
    "is_selected",
    "local_version",
    "model_files",
    "model_metrics",
    "model_tags",
    "trace_assessments",
    "trace_spans",
    "version_source",
]

MLMODEL = "MLmodel"
MLMODEL_BYTES_MAX = 16 << 20

Line = dict[str, Any]


def is_selected(session: Session, experiment: str) -> bool:
    """Whether models and traces of an experiment are wanted: not where only some runs are."""
    options = session.options
    patterns = options.experiments
    return not options.runs and (not patterns or any(fnmatchcase(experiment, pattern) for pattern in patterns))


def bring_others(session: Session, source: Source) -> None:
    """Bring what is new of each.

    Raises:
        StoreError: it can't be stored.
    """
    for model in source.logged_models():
        if is_selected(session, model.experiment):
            with session.naming(model.where):
                _bring_logged(session, model)
    if session.options.everything:
        for registered in source.registered_models():
            with session.naming(registered.where):
                _bring_registered(session, registered)
    for trace in source.traces():
        if is_selected(session, trace.experiment):
            with session.naming(trace.where):
                _bring_trace(session, trace)
    if not session.options.dry_run:
        session.store.traces.close()


# --- logged models ---


def model_tags(session: Session, model: SourceModel) -> dict[str, str]:
    """The tags that a logged model is to have here."""
    tags = {key: value for key, value in model.tags.items() if key != MODEL_ID_TAG}
    if model.tags.get(MODEL_ID_TAG) == session.model_id(model.source_id, model.tags):
        return tags
    return {ORIGIN_TAG: session.origin, ORIGIN_MODEL_TAG: model.source_id, **tags}


def model_metrics(session: Session, model: SourceModel) -> list[ModelMetric]:
    """Its metrics, with runs as they are called here."""
    return [replace(metric, run_id=session.run_id_of(metric.run_id)) for metric in model.metrics]


def model_files(session: Session, model: SourceModel) -> Iterator[SourceFile]:
    """Its files; in ``MLmodel``, ids are as they are here."""
    ids = [(model.source_id, session.model_id(model.source_id, model.tags))]
    if model.source_run:
        ids.append((model.source_run, session.run_id_of(model.source_run)))
    for file in model.files():
        if file.path != MLMODEL or file.size > MLMODEL_BYTES_MAX:
            yield file
            continue
        content = b"".join(pieces_of(file))
        for theirs, here in ids:
            content = content.replace(theirs.encode(), here.encode())
        yield SourceFile(file.path, len(content), partial(_opened, content))


def _opened(content: bytes) -> IO[bytes]:
    return io.BytesIO(content)


def _bring_logged(session: Session, model: SourceModel) -> None:
    models, model_id = session.store.logged_models, session.model_id(model.source_id, model.tags)
    experiment = session.experiment(model.experiment)
    is_new = not models.has(model_id)
    session.counts["logged_models"] += is_new
    dry_run = session.options.dry_run
    if is_new and not dry_run:
        models.create(
            experiment.experiment_id,
            model.name or None,
            model_type=model.model_type,
            source_run_id=session.run_id_of(model.source_run) if model.source_run else None,
            tags=model_tags(session, model),
            model_id=model_id,
            created=model.created,
        )
    if not dry_run:
        _add_to_model(session, model, model_id)
    try:
        known = {artifact.path: (artifact.size, artifact.sha256) for artifact in models.get(model_id).artifacts}
    except NotFoundError:
        known = {}

    def note(stored: Stored) -> None:
        models.add_artifacts(model_id, [(stored.path, stored.size, stored.sha256)])

    root = models.folder(model_id).artifacts
    for _ in FileImport(session, model.where).bring(model_files(session, model), root, known.get, note):
        pass
    if not dry_run and models.get(model_id).status == "PENDING" and model.status != "PENDING":
        models.set_status(model_id, model.status, model.status_message)
    if is_new and not dry_run and model.deleted:
        models.set_stage(model_id, DELETED)


def _add_to_model(session: Session, model: SourceModel, model_id: str) -> None:
    models = session.store.logged_models
    local = models.get(model_id)
    params = {key: value for key, value in model.params.items() if key not in local.params}
    if params:
        models.log_params(model_id, params)
    tags: dict[str, str | None] = {
        key: value for key, value in model_tags(session, model).items() if key not in local.tags
    }
    if tags:
        models.set_tags(model_id, tags)
    held = {identity(metric) for metric in local.metrics}
    new = [metric for metric in model_metrics(session, model) if identity(metric) not in held]
    if new:
        models.log_metrics(model_id, new)


# --- registered models ---


def version_source(session: Session, version: SourceVersion) -> str:
    """Where a version's files are, with ids as they are here."""
    kind, _, rest = version.source.partition(":/")
    source_id, slash, path = rest.partition("/")
    if kind == "runs":
        return f"runs:/{session.run_id_of(source_id)}{slash}{path}"
    if kind == "models" and source_id.startswith("m-"):
        return f"models:/{session.model_id(source_id)}{slash}{path}"
    return version.source


def local_version(session: Session, version: SourceVersion, known: Mapping[int, ModelVersion]) -> ModelVersion | None:
    """The version here that this one is: by its files and its run, the one of the same number first."""
    run = session.run_id_of(version.run) if version.run else None
    wanted = (version_source(session, version), run)
    same = [each for each in known.values() if (each.source, each.run_id) == wanted]
    return min(same, key=lambda each: (each.version != version.version, each.version), default=None)


def _bring_registered(session: Session, model: SourceRegisteredModel) -> None:
    registry = session.store.registry
    new = {"models": 0, "model_versions": 0}

    def make(state: RegistryState) -> list[Line]:
        lines = list(_registry_lines(session, model, state))
        new["models"] = sum(line["type"] == "create" for line in lines)
        new["model_versions"] = sum(line["type"] == "create_version" for line in lines)
        return lines

    if session.options.dry_run:
        make(_state_now(session, model.name))
    else:
        registry.add_lines(make)
    session.counts.update(new)


def _state_now(session: Session, name: str) -> RegistryState:
    """What the registry has of a model, to look at."""
    state = RegistryState()
    try:
        state.models[name] = session.store.registry.get_model(name)
    except NotFoundError:
        return state
    state.versions[name] = {version.version: version for version in session.store.registry.versions(name)}
    state.last_number[name] = max(state.versions[name], default=0)
    return state


def _registry_lines(session: Session, model: SourceRegisteredModel, state: RegistryState) -> Iterator[Line]:
    """The lines that the registry lacks. What is here stands: texts, tags and aliases are only added."""
    name, local = model.name, state.models.get(model.name)
    if local is None:
        made = {"type": "create", "name": name, "description": model.description, "tags": dict(model.tags)}
        yield made | ({"time": model.created} if model.created else {})
    else:
        for key, value in model.tags.items():
            if key not in local.tags:
                yield {"type": "tag", "name": name, "key": key, "value": value}
    versions, last = state.versions.get(name, {}), state.last_number.get(name, 0)
    numbers: dict[int, int] = {}
    taken: set[int] = set()
    for version in model.versions:
        free = {number: each for number, each in versions.items() if number not in taken}
        held = local_version(session, version, free)
        if held is not None:
            numbers[version.version] = held.version
            taken.add(held.version)
            yield from _later_lines(name, held, version)
            continue
        number = version.version if version.version > last else state.free_number(name, version.version)
        number = max(number, last + 1) if number in taken else number
        last = max(last, number)
        numbers[version.version] = number
        taken.add(number)
        yield from _version_lines(session, name, number, version)
    for alias, theirs in model.aliases.items():
        if theirs in numbers and (local is None or alias not in local.aliases):
            yield {"type": "alias", "name": name, "alias": alias, "version": numbers[theirs]}


def _later_lines(name: str, held: ModelVersion, version: SourceVersion) -> Iterator[Line]:
    """What the source says now of a version that is here, and nothing here says: tags, and a first stage."""
    for key, value in version.tags.items():
        if key not in held.tags:
            yield {"type": "version_tag", "name": name, "version": held.version, "key": key, "value": value}
    if held.stage == "None" != version.stage:
        line = {"type": "stage", "name": name, "version": held.version, "stage": version.stage}
        yield line | {"archive_existing": False}


def _version_lines(session: Session, name: str, number: int, version: SourceVersion) -> Iterator[Line]:
    line: Line = {
        "type": "create_version",
        "name": name,
        "version": number,
        "source": version_source(session, version),
        "run_id": session.run_id_of(version.run) if version.run else None,
        "description": version.description,
        "tags": dict(version.tags),
        "model_id": session.model_id(version.model) if version.model else None,
    }
    if version.run_link:
        line["run_link"] = version.run_link
    if version.created:
        line["time"] = version.created
    yield line
    if version.stage != "None":
        yield {"type": "stage", "name": name, "version": number, "stage": version.stage, "archive_existing": False}


# --- traces ---


def trace_spans(trace: SourceTrace) -> list[Span]:
    """The spans of a trace."""
    return [read_span(content) for content in trace.spans]


def trace_assessments(session: Session, trace: SourceTrace) -> list[dict[str, Any]]:
    """Its assessments, with runs as they are called here."""
    records = [dict(record) for record in trace.info.get("assessments", ())]
    for record in records:
        if record.get("run_id"):
            record["run_id"] = session.run_id_of(record["run_id"])
    return records


def _bring_trace(session: Session, trace: SourceTrace) -> None:
    local = session.store.traces.find(trace.trace_id)
    if local is not None and not local.born:
        local = None
    held = {} if local is None else {head.span_id: head.end for head in local.spans.values()}
    spans = [span for span in trace_spans(trace) if held.get(span.head["id"], -1) != span.head.get("end")]
    facts = [{"trace_id": trace.trace_id, **fact} for fact in _trace_facts(session, trace, local)]
    for fact in facts:
        _check(fact)
    if not facts and not spans:
        return
    session.counts["traces"] += local is None
    if session.options.dry_run:
        return
    experiment = session.experiment(trace.experiment).experiment_id if local is None else local.experiment_id
    if spans:
        fact = spans_fact(trace.trace_id, spans)
        _check({**fact, "at": [0, 0]})
        session.store.traces.add_spans(experiment, [fact], [[span.content for span in spans]])
    if facts:
        session.store.traces.add(experiment, *facts)


def _check(fact: Line) -> None:
    fault = FACTS.fault({"seq": 0, "time": 0, **fact})
    if fault is not None:
        raise SourceError(f"a fact that {fault}")


def _trace_facts(session: Session, trace: SourceTrace, local: Trace | None) -> Iterator[Line]:
    assessments = trace_assessments(session, trace)
    runs = [session.run_id_of(run) for run in trace.runs]
    if local is None:
        state = trace.info.get("state")
        info = {key: value for key, value in trace.info.items() if key != "assessments"}
        yield {"type": "info", **info, "final": state in ("OK", "ERROR")}
        yield from ({"type": "assessment", "assessment": record} for record in assessments)
        yield from ({"type": "run", "run_id": run, "linked": True} for run in runs)
        yield from ({"type": "prompt", "prompt": prompt} for prompt in trace.prompts)
        return
    for key, value in trace.info.get("tags", {}).items():
        if key not in local.tags:
            yield {"type": "tag", "key": key, "value": value}
    for record in assessments:
        if record["assessment_id"] not in local.assessments:
            yield {"type": "assessment", "assessment": record}
    for run in runs:
        if run not in local.run_ids:
            yield {"type": "run", "run_id": run, "linked": True}
    for prompt in trace.prompts:
        if prompt not in local.prompts:
            yield {"type": "prompt", "prompt": prompt}
