"""A run's inputs and outputs: datasets and logged models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mltrack.errors import UsageError
from mltrack.values.arguments import list_argument
from mltrack.values.datasets import (
    as_dataset,
    dataset_event,
    input_tags,
    model_id_of,
    model_input_event,
    model_output_event,
)
from mltrack.values.scalars import integer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mltrack.journal.recorder import Recorder

__all__ = ["RunInputs"]


class RunInputs:
    """The part of ``Run`` that is about inputs and outputs."""

    _recorder: Recorder
    _datasets: set[tuple[str, str]]

    if TYPE_CHECKING:  # what Run has

        def _check_open(self) -> None: ...

    def log_input(
        self,
        dataset: Any = None,
        context: str | None = None,
        tags: Mapping[str, Any] | None = None,
        model: Any = None,
    ) -> None:
        """Record that the run uses a dataset. Later calls for the same name and digest change nothing.

        Args:
            dataset: one of ``mlflow.data``, or an ``mltrack.Dataset``.
            context: its use: "training", "validation", "test"; it becomes the tag ``mlflow.data.context``.
            tags: more tags of this use, as text.
            model: a logged model that the run uses: MLflow's ``LoggedModelInput``, or a model's id.

        Raises:
            UsageError: it is not a dataset or model, or the context is not text; or neither is given.
            RunStateError: the run has ended.
        """
        self._check_open()
        if dataset is None and (model is None or context or tags):
            raise UsageError("no dataset is given", hint="log_input(dataset, context='training')")
        models = [] if model is None else [model_id_of(model)]
        events = [] if dataset is None else [(as_dataset(dataset), input_tags(context, tags))]
        self._emit_inputs(events, models)

    def log_inputs(
        self,
        datasets: Sequence[Any] | None = None,
        contexts: Sequence[str | None] | None = None,
        tags_list: Sequence[Mapping[str, Any] | None] | None = None,
        models: Sequence[Any] | None = None,
    ) -> None:
        """``log_input`` for several datasets and logged models; all are checked before any is stored.

        Args:
            datasets: datasets; None for none, as in the other lists.
            contexts: the context of each.
            tags_list: the tags of each.
            models: logged models, or their ids.

        Raises:
            UsageError: the lists of datasets, contexts and tags differ in length; or as log_input.
            RunStateError: the run has ended.
        """
        self._check_open()
        given = {"datasets": datasets, "contexts": contexts, "tags_list": tags_list}
        columns = [list_argument(what, column) for what, column in given.items()]
        if len({len(column) for column in columns}) != 1:
            raise UsageError("datasets, contexts and tags_list differ in length", hint="give None for a missing one")
        used = []
        for dataset, context, tags in zip(*columns, strict=True):
            if dataset is not None:
                used.append((as_dataset(dataset), input_tags(context, tags)))
            elif context or tags:
                raise UsageError("a context or tags are given without a dataset", hint="give None for them too")
        self._emit_inputs(used, [model_id_of(model) for model in list_argument("models", models) if model is not None])

    def log_outputs(self, models: Iterable[Any] | None = None) -> None:
        """Record which logged models the run made: MLflow's ``LoggedModelOutput`` (with its step), or a model's id.

        Later calls for the same model change nothing.

        Raises:
            UsageError: a model is neither, or its step is not a 64-bit integer.
            RunStateError: the run has ended.
        """
        self._check_open()
        made = [
            model_output_event(model_id_of(model), integer("step", getattr(model, "step", 0) or 0))
            for model in list_argument("models", models)
        ]
        if made:
            self._recorder.emit(*made)

    def _emit_inputs(self, datasets: Iterable[tuple[Any, dict[str, str]]], models: Iterable[str]) -> None:
        events: list[dict[str, Any]] = []
        new: set[tuple[str, str]] = set()
        for used, tags in datasets:
            if (used.name, used.digest) not in self._datasets | new:
                new.add((used.name, used.digest))
                events.append(dataset_event(used, tags))
        events += [model_input_event(model_id) for model_id in models]
        if events:
            self._recorder.emit(*events)
        self._datasets |= new
