"""The module-level functions that log params, tags, files and inputs: MLflow's names and meanings."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

import mltrack.recording.fluent  # noqa: F401  # it says how a run starts by itself, for a program's first call
from mltrack.recording.active import active_run, on_active
from mltrack.recording.current_store import get_store
from mltrack.recording.operations import DONE
from mltrack.text.shown import shown
from mltrack.values.scalars import texts_by_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mltrack.disk.artifact_files import StrPath
    from mltrack.entities import ModelVersion
    from mltrack.recording.operations import RunOperations
    from mltrack.recording.run import Run

__all__ = [
    "delete_tag",
    "flush",
    "flush_artifact_async_logging",
    "flush_async_logging",
    "get_artifact_uri",
    "log_artifact",
    "log_artifacts",
    "log_dict",
    "log_figure",
    "log_image",
    "log_input",
    "log_inputs",
    "log_outputs",
    "log_param",
    "log_params",
    "log_stream",
    "log_table",
    "log_text",
    "register_model",
    "set_tag",
    "set_tags",
]


def _on(run_id: str | None, call: Callable[[Run], None]) -> None:
    """Call with the run of that id, even if another process records it; without an id, with the active run."""
    if run_id is None:
        on_active(call)
        return
    from mltrack.recording.other_runs import run_by_id

    call(run_by_id(run_id))


def _operations(synchronous: bool | None) -> RunOperations | None:
    return DONE if synchronous is False else None


# --- params and tags ---


def log_param(key: str, value: Any, synchronous: bool | None = None) -> Any:
    """Log one param of the active run, as text; returns the value. It can't be changed later (MLflow's rule).

    ``synchronous`` is MLflow's: everything is stored when a call returns.

    Raises:
        ParamConflictError: the run has the param with another value.
    """
    stored = on_active(lambda run: run.log_param(key, value))
    return DONE if synchronous is False else stored


def log_params(
    params: Mapping[str, Any], synchronous: bool | None = None, run_id: str | None = None
) -> RunOperations | None:
    """Log params of the active run, or of the one with that id: all of them, or none if one can't be logged.

    Raises:
        ParamConflictError: the run has one of them with another value.
    """
    _on(run_id, lambda run: run.log_params(params))
    return _operations(synchronous)


def set_tag(key: str, value: Any, synchronous: bool | None = None) -> RunOperations | None:
    """Set a tag of the active run, as text; a tag that it has is replaced."""
    on_active(lambda run: run.set_tag(key, value))
    return _operations(synchronous)


def set_tags(tags: Mapping[str, Any], synchronous: bool | None = None) -> RunOperations | None:
    """Set tags of the active run, as texts; those that it has are replaced."""
    on_active(lambda run: run.set_tags(tags))
    return _operations(synchronous)


def delete_tag(key: str) -> None:
    """Remove a tag from the active run; it need not have it."""
    on_active(lambda run: run.delete_tag(key))


# --- inputs and outputs ---


def log_input(
    dataset: Any = None,
    context: str | None = None,
    tags: Mapping[str, Any] | None = None,
    model: Any = None,
) -> None:
    """Note a dataset, or a logged model, as an input of the active run.

    Args:
        dataset: one of ``mlflow.data``, or an ``mltrack.Dataset``.
        context: its use: "training", "validation", "test".
        tags: more tags of this use, as text.
        model: a logged model that the run uses, or its id.
    """
    on_active(lambda run: run.log_input(dataset, context, tags, model))


def log_inputs(
    datasets: Sequence[Any] | None = None,
    contexts: Sequence[str | None] | None = None,
    tags_list: Sequence[Mapping[str, Any] | None] | None = None,
    models: Sequence[Any] | None = None,
) -> None:
    """Note several datasets and logged models as inputs of the active run.

    Args:
        datasets: datasets; None for none, as in the other lists.
        contexts: the context of each.
        tags_list: the tags of each.
        models: logged models, or their ids.
    """
    on_active(lambda run: run.log_inputs(datasets, contexts, tags_list, models))


def log_outputs(models: Sequence[Any] | None = None) -> None:
    """Note logged models that the active run made, each with the step at which it did."""
    on_active(lambda run: run.log_outputs(models))


# --- files ---


def log_artifact(local_path: StrPath, artifact_path: StrPath | None = None, run_id: str | None = None) -> None:
    """Copy a file, or a folder, into the artifacts of the active run, or of the one with that id.

    It goes into their folder ``artifact_path``, where that is given, by its own name.

    Raises:
        NotFoundError: there is no such file.
        InvalidPathError: ``artifact_path`` would leave the artifact folder.
    """
    _on(run_id, lambda run: run.log_artifact(local_path, artifact_path))


def log_artifacts(local_dir: StrPath, artifact_path: StrPath | None = None, run_id: str | None = None) -> None:
    """Copy what is in a folder into the artifacts of the active run, or of the one with that id.

    It goes into their folder ``artifact_path``, where that is given.
    """
    _on(run_id, lambda run: run.log_artifacts(local_dir, artifact_path))


def log_text(text: str, artifact_file: StrPath, run_id: str | None = None) -> None:
    """Write a text, in UTF-8, as the artifact ``artifact_file`` of the active run, or of the one with that id."""
    _on(run_id, lambda run: run.log_text(text, artifact_file))


def log_dict(dictionary: Any, artifact_file: StrPath, run_id: str | None = None) -> None:
    """Write a dict or a list as JSON, or as YAML where ``artifact_file`` ends so, into the run's artifacts.

    The run is the active one, or the one with that id.
    """
    _on(run_id, lambda run: run.log_dict(dictionary, artifact_file))


def log_stream(stream: IO[bytes], artifact_file: StrPath, run_id: str | None = None) -> None:
    """Write what a binary file object yields into the artifacts of the active run, or of the one with that id."""
    _on(run_id, lambda run: run.log_stream(stream, artifact_file))


def log_figure(figure: Any, artifact_file: StrPath, *, save_kwargs: Mapping[str, Any] | None = None) -> None:
    """Write a figure of Matplotlib or Plotly into the artifacts of the active run.

    The suffix of ``artifact_file`` names the format; ``save_kwargs`` go to the figure's own function for it.
    """
    on_active(lambda run: run.log_figure(figure, artifact_file, save_kwargs=save_kwargs))


def log_image(
    image: Any,
    artifact_file: StrPath | None = None,
    key: str | None = None,
    step: int | None = None,
    timestamp: int | None = None,
    synchronous: bool | None = False,
) -> None:
    """Write an image into the artifacts of the active run, or log it at a step of a series of images.

    Args:
        image: a PIL image, an array, ``mlflow.Image`` or ``mltrack.Image``.
        artifact_file: the artifact's name; its suffix names the format.
        key: the name of the series, instead of ``artifact_file``.
        step: the image's step in the series, 0 when not given.
        timestamp: ms since the epoch; now when not given.
        synchronous: MLflow's; the image is stored when the call returns.
    """
    on_active(lambda run: run.log_image(image, artifact_file, key=key, step=step, timestamp=timestamp))


def log_table(data: Any, artifact_file: StrPath, run_id: str | None = None) -> None:
    """Write a table as JSON or Parquet into the artifacts; rows are added to a table of that name.

    The run is the active one, or the one with that id.
    """
    _on(run_id, lambda run: run.log_table(data, artifact_file))


def get_artifact_uri(artifact_path: StrPath | None = None) -> str:
    """Where the active run's artifacts (or the named one) are, as a local path."""
    from mltrack.disk.filesystem import safe_join

    folder = on_active(lambda run: run.folder.artifacts)
    return str(safe_join(folder, artifact_path) if artifact_path else folder)


# --- the end of a call ---


def flush() -> None:
    """Make everything that was logged to the active run survive power loss, which else takes up to a second."""
    run = active_run()
    if run is not None:
        run.flush()


def flush_async_logging() -> None:
    """MLflow's, without effect: everything logged is already stored. ``flush`` makes it survive power loss."""


def flush_artifact_async_logging() -> None:
    """MLflow's, without effect: everything logged is already stored. ``flush`` makes it survive power loss."""


# --- models ---


def register_model(
    model_uri: str,
    name: str,
    await_registration_for: int | None = 300,
    *,
    tags: Mapping[str, Any] | None = None,
) -> ModelVersion:
    """Make an artifact of a run (``runs:/<run_id>/<path>``) the next version of a registered model, offline.

    Args:
        model_uri: the artifact, as ``runs:/<run_id>/<path>``.
        name: the registered model; it is created if it does not exist.
        await_registration_for: MLflow's, without effect: the version exists when this returns.
        tags: tags of the version.

    Raises:
        UsageError: the URI is not of that form; the name is not a model name.
        NotFoundError: there is no such run or artifact.
    """
    from time import time_ns

    from mltrack.errors import UsageError
    from mltrack.storage.registry.registry import Registry

    if not isinstance(model_uri, str):
        raise UsageError(f"a model's URI is a text, not {shown(model_uri)}", hint="use runs:/<run_id>/<path>")
    scheme, _, rest = model_uri.partition("runs:/")
    run_id, _, path = rest.strip("/").partition("/")
    if scheme or not run_id:
        raise UsageError(f"{model_uri!r} is not the URI of an artifact of a run", hint="use runs:/<run_id>/<path>")
    store = get_store()
    text = texts_by_name("tags", tags)
    registry = Registry(store.layout, clock=time_ns)
    return registry.create_version_of_run(name, store.run(run_id).folder, path or None, tags=text)
