"""What a run was made from and what it made: datasets and logged models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mltrack.errors import UsageError
from mltrack.values.datasets import (
    as_dataset,
    dataset_event,
    input_tags,
    model_id_of,
    model_input_event,
    model_output_event,
)

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
        """Note that the run uses a dataset. Of one name and digest the first call stands; others change nothing.

        Args:
            dataset: one of ``mlflow.data``, or an ``mltrack.Dataset``.
            context: what it is used for: "training", "validation", "test"; it becomes the tag ``mlflow.data.context``.
            tags: further tags of this use, as text.
            model: a logged model that the run uses: MLflow's ``LoggedModelInput``, or a model's id.

        Raises:
            UsageError: it is no dataset or model, or the context no text; or there is neither.
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
        """``log_input`` of several datasets, with the context and the tags of each, and of several logged models.

        None stands for nothing in each of the lists. All are checked before any is stored.

        Raises:
            UsageError: the lists of datasets, contexts and tags are not of one length; or as log_input.
            RunStateError: the run has ended.
        """
        self._check_open()
        columns = [list(column or []) for column in (datasets, contexts, tags_list)]
        if len({len(column) for column in columns}) != 1:
            raise UsageError(
                "datasets, contexts and tags_list are not of one length", hint="give None where there is none"
            )
        used = []
        for dataset, context, tags in zip(*columns, strict=True):
            if dataset is not None:
                used.append((as_dataset(dataset), input_tags(context, tags)))
            elif context or tags:
                raise UsageError("a context or tags without a dataset", hint="give None for them too")
        self._emit_inputs(used, [model_id_of(model) for model in models or [] if model is not None])

    def log_outputs(self, models: Iterable[Any] | None = None) -> None:
        """Note which logged models the run made: MLflow's ``LoggedModelOutput`` (with its step), or a model's id.

        Of one model the first call stands.

        Raises:
            UsageError: it is none of these.
            RunStateError: the run has ended.
        """
        self._check_open()
        made = [model_output_event(model_id_of(model), int(getattr(model, "step", 0) or 0)) for model in models or []]
        if made:
            self._recorder.emit(*made)

    def _emit_inputs(self, datasets: Iterable[tuple[Any, dict[str, str]]], models: Iterable[str]) -> None:
        events = []
        for used, tags in datasets:
            if (used.name, used.digest) not in self._datasets:
                self._datasets.add((used.name, used.digest))
                events.append(dataset_event(used, tags))
        events += [model_input_event(model_id) for model_id in models]
        if events:
            self._recorder.emit(*events)
