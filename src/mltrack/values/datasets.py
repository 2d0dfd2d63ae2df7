"""The events for a run's inputs and outputs: datasets and logged models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mltrack.entities import DATASET_CONTEXT, Dataset
from mltrack.errors import UsageError
from mltrack.text.shown import shown
from mltrack.values.scalars import texts_by_name

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["as_dataset", "dataset_event", "input_tags", "model_id_of", "model_input_event", "model_output_event"]


def as_dataset(value: Any) -> Dataset:
    """A ``Dataset`` from one of ours, one of ``mlflow.data``, or MLflow's entity, without importing MLflow.

    Raises:
        UsageError: it is none of these.
    """
    entity = value._to_mlflow_entity() if hasattr(value, "_to_mlflow_entity") else value
    needed: list[Any] = [getattr(entity, name, None) for name in ("name", "digest", "source_type", "source")]
    known: list[Any] = [getattr(entity, name, None) for name in ("schema", "profile")]
    if not all(isinstance(text, str) for text in (*needed, *(text for text in known if text is not None))):
        raise UsageError(
            f"a {type(value).__name__} is not a dataset",
            hint="give one of mlflow.data, or mltrack.Dataset(name, digest, source_type, source)",
        )
    return Dataset(*needed, *known)


def input_tags(context: str | None, tags: Mapping[str, Any] | None) -> dict[str, str]:
    """The tags of a dataset's use; ``context`` is one of them.

    Raises:
        UsageError: the context is not text.
    """
    text = {str(key): value for key, value in texts_by_name("tags of an input", tags).items()}
    if context is None:
        return text
    if not isinstance(context, str):
        raise UsageError(
            f"context {shown(context)} is not text", hint="say what the dataset is for: context='training'"
        )
    return text | {DATASET_CONTEXT: context}


def dataset_event(dataset: Dataset, tags: Mapping[str, str]) -> dict[str, Any]:
    """The event that a run used a dataset. In a run the first with a given name and digest counts."""
    return {
        "type": "dataset",
        "name": dataset.name,
        "digest": dataset.digest,
        "source_type": dataset.source_type,
        "source": dataset.source,
        "schema": dataset.schema,
        "profile": dataset.profile,
        "tags": dict(tags),
    }


def model_id_of(model: Any) -> str:
    """A logged model's id, from itself or MLflow's ``LoggedModel``, ``LoggedModelInput`` or ``LoggedModelOutput``.

    Raises:
        UsageError: it is none of these.
    """
    model_id = getattr(model, "model_id", model)
    if not isinstance(model_id, str) or not model_id:
        raise UsageError(f"a {type(model).__name__} is not a logged model", hint="give its id, or MLflow's entity")
    return model_id


def model_input_event(model_id: str) -> dict[str, Any]:
    """The event that a run used a logged model."""
    return {"type": "model_input", "model_id": model_id}


def model_output_event(model_id: str, step: int = 0) -> dict[str, Any]:
    """The event that a run made a logged model at ``step``. In a run the first for a given model counts."""
    return {"type": "model_output", "model_id": model_id, "step": step}
