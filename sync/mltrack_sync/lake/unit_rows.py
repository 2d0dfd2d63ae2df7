"""What a store has besides runs, as rows: experiments, registered models, logged models and traces as they are now."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mltrack.text.encodable import encodable, encodable_pairs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mltrack.entities import Artifact, LoggedModel
    from mltrack.storage.traces.trace import Trace
    from mltrack.store import Store
    from mltrack_sync.lake.fact_rows import Row

__all__ = ["UNIT_TABLES", "logged_model_row", "trace_rows", "workspace_rows"]

UNIT_TABLES = ("experiments", "registered_models", "model_versions")
"""The tables of the workspace."""


def workspace_rows(store: Store, revision: dict[str, int]) -> dict[str, list[Row]]:
    """The rows of experiments, registered models and versions; ``revision`` is by table.

    Raises:
        StoreError, OSError: the store can't be read.
    """
    store_id = store.store_id
    experiments = [
        (
            store_id,
            each.experiment_id,
            encodable(each.name),
            each.lifecycle_stage,
            each.creation_time * 1000,
            each.last_update_time * 1000,
            encodable_pairs(each.tags),
            revision["experiments"],
        )
        for each in store.experiments(deleted=True)
    ]
    models = [
        (
            store_id,
            encodable(each.name),
            encodable(each.description),
            each.creation_time * 1000,
            each.last_update_time * 1000,
            encodable_pairs(each.tags),
            {encodable(alias): str(version) for alias, version in each.aliases.items()},
            False,
            revision["registered_models"],
        )
        for each in store.registry.models()
    ]
    versions = [
        (
            store_id,
            encodable(each.name),
            each.version,
            encodable(each.source),
            each.run_id,
            each.model_id,
            encodable(each.description),
            each.stage,
            each.creation_time * 1000,
            each.last_update_time * 1000,
            encodable_pairs(each.tags),
            False,
            revision["model_versions"],
        )
        for each in store.registry.versions()
    ]
    return {"experiments": experiments, "registered_models": models, "model_versions": versions}


def logged_model_row(store_id: str, model: LoggedModel, files: Iterable[Artifact], revision: int) -> Row:
    """The row of a logged model; ``files`` are those of its files whose contents the lake is to have."""
    metrics = [asdict(each) for each in model.metrics]
    listed = [{"path": each.path, "size": each.size, "sha256": each.sha256} for each in files]
    return (
        store_id,
        model.model_id,
        encodable(model.name),
        model.experiment_id,
        model.source_run_id,
        encodable(model.model_type),
        model.status,
        encodable(model.status_message),
        model.lifecycle_stage,
        model.creation_time * 1000,
        model.last_update_time * 1000,
        encodable_pairs(model.params),
        encodable_pairs(model.tags),
        json.dumps(metrics),
        json.dumps(listed),
        False,
        revision,
    )


def trace_rows(store: Store, traces: Iterable[Trace], revision: int) -> Iterator[Row]:
    """The rows of traces with their spans, one after the other.

    Raises:
        StoreError: they can't be read.
    """
    store_id = store.store_id
    with store.traces.spans() as reader:
        for each in traces:
            if each.born:
                spans = f"[{','.join(reader.read(each.ordered_spans()))}]"
                yield _trace_row(store_id, each, spans, revision)


def _ns(time_ms: int) -> int:
    """A time in ns; the nearest one where that is more than a column holds, as of a time that is in ns already."""
    return max(-(1 << 63), min(time_ms * 1_000_000, (1 << 63) - 1))


def _trace_row(store_id: str, trace: Trace, spans: str, revision: int) -> Row:
    start = _ns(trace.request_time)
    metadata = trace.full_metadata | {
        name: text
        for name, text in (
            ("mltrack.client_request_id", trace.client_request_id),
            ("mltrack.request_preview", trace.request_preview),
            ("mltrack.response_preview", trace.response_preview),
        )
        if text is not None
    }
    assessments: list[dict[str, Any]] = [asdict(each) for each in trace.assessments.values()]
    return (
        store_id,
        trace.trace_id,
        trace.experiment_id,
        trace.run_ids[0] if trace.run_ids else None,
        trace.state,
        start,
        start // 1000,
        None if trace.duration is None else _ns(trace.duration),
        encodable_pairs(trace.tags),
        encodable_pairs(metadata),
        json.dumps(assessments),
        encodable(spans),
        False,
        revision,
    )
