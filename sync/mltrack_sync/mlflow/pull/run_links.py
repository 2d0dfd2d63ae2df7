"""What ties a run of the server to datasets and logged models: as events, and as the ledger names these ties."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from mltrack.entities import Dataset, DatasetInput
from mltrack_sync.http.shapes import identifier, integer, mapping, pairs, rows, shaped, text
from mltrack_sync.mlflow.api.capabilities import UnsupportedFeatureError
from mltrack_sync.mlflow.plan.kinds import MODEL_INPUT, MODEL_OUTPUT, dataset_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mltrack_sync.http.shapes import Fields
    from mltrack_sync.mlflow.api.client import RemoteRun
    from mltrack_sync.mlflow.pull.local_run import LocalRun
    from mltrack_sync.mlflow.pull.run_ids import RunIds

__all__ = ["Link", "links_of", "named_models", "new_links"]

Event = dict[str, Any]


class Link(NamedTuple):
    """A tie: its name in the ledger, what it is to, and the event that says it."""

    name: str
    to: tuple[str, ...]
    event: Event


def links_of(url: str, run: RemoteRun, ids: RunIds) -> list[Link]:
    """All ties of a run.

    Raises:
        NotMlflowError: the answer has another shape.
    """
    with shaped(url, "runs/search", run.inputs):
        found = [_dataset(row) for row in rows(run.inputs, "dataset_inputs")]
        used = [identifier(row["model_id"]) for row in rows(run.inputs, "model_inputs")]
        made = [(identifier(r["model_id"]), integer(r.get("step") or 0)) for r in rows(run.outputs, "model_outputs")]
    for remote_id in used:
        model_id = _model(ids, remote_id)
        event: Event = {"type": "model_input", "model_id": model_id}
        found.append(Link(f"{MODEL_INPUT} {model_id}", (MODEL_INPUT, model_id), event))
    for remote_id, step in made:
        model_id = _model(ids, remote_id)
        event = {"type": "model_output", "model_id": model_id, "step": step}
        found.append(Link(f"{MODEL_OUTPUT} {model_id}", (MODEL_OUTPUT, model_id), event))
    return found


def named_models(run: RemoteRun) -> list[str]:
    """The ids on the server of the logged models that a run used or made; none where its links can't be read."""
    links = [*(run.inputs.get("model_inputs") or ()), *(run.outputs.get("model_outputs") or ())]
    return [str(link["model_id"]) for link in links if isinstance(link, dict) and link.get("model_id")]


def new_links(links: list[Link], local: LocalRun) -> Iterator[Event]:
    """The events of those ties that the run does not have here."""
    run = local.run
    known: set[tuple[str, ...]] = set()
    if run is not None:
        known = {(used.dataset.name, used.dataset.digest) for used in run.datasets}
        known |= {(MODEL_INPUT, model_id) for model_id in run.model_inputs}
        known |= {(MODEL_OUTPUT, output.model_id) for output in run.model_outputs}
    return (link.event for link in links if link.to not in known)


def _model(ids: RunIds, remote_id: str) -> str:
    try:
        return ids.model_of(remote_id)
    except UnsupportedFeatureError:
        return ids.model_of(remote_id, {})


def _dataset(row: Fields) -> Link:
    fields, tags = mapping(row["dataset"]), pairs(row, "tags")
    texts = {key: text(fields.get(key)) for key in ("name", "digest", "source_type", "source")}
    more: Mapping[str, str | None] = {key: text(fields.get(key)) or None for key in ("schema", "profile")}
    name = dataset_key(DatasetInput(Dataset(texts["name"], texts["digest"], texts["source_type"], texts["source"])))
    event = {"type": "dataset", **texts, **more, "tags": tags}
    return Link(name, (texts["name"], texts["digest"]), event)
