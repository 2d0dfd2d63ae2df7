"""Converts mltrack's errors to MLflow's: each type has the code of MLflow's SQL store for the same error."""

from __future__ import annotations

import contextlib
import functools
import inspect
from typing import TYPE_CHECKING, Any, TypeVar

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    RESOURCE_ALREADY_EXISTS,
    RESOURCE_DOES_NOT_EXIST,
    TEMPORARILY_UNAVAILABLE,
)

from mltrack.errors import AlreadyExistsError, BusyError, MltrackError, NotFoundError, RunStateError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["as_mlflow", "beginning", "raises_mlflow", "with_words"]

_CODES: tuple[tuple[type[MltrackError], int], ...] = (  # the first match counts
    (AlreadyExistsError, RESOURCE_ALREADY_EXISTS),
    (UsageError, INVALID_PARAMETER_VALUE),
    (RunStateError, INVALID_PARAMETER_VALUE),
    (NotFoundError, RESOURCE_DOES_NOT_EXIST),
    (BusyError, TEMPORARILY_UNAVAILABLE),
    (MltrackError, INTERNAL_ERROR),
)

_Class = TypeVar("_Class", bound=type)


def as_mlflow(error: MltrackError) -> MlflowException:
    """The same error as MLflow's exception, with the hint in its message."""
    code = next(code for kind, code in _CODES if isinstance(error, kind))
    return MlflowException(f"{error} ({error.hint})" if error.hint else str(error), error_code=code)


@contextlib.contextmanager
def beginning(kind: type[MltrackError], words: str) -> Iterator[None]:
    """Have errors of a kind begin with the words of MLflow's SQL store, which clients look for; ours are the hint."""
    try:
        yield
    except kind as error:
        if str(error).startswith(words):
            raise
        raise type(error)(words, hint=f"{error}; {error.hint}" if error.hint else str(error)) from error


def with_words(words: Mapping[str, tuple[type[MltrackError], str]]) -> Callable[[_Class], _Class]:
    """A class decorator: errors of methods begin with these words; ``{name}`` in them is the argument ``name``."""

    def decorate(cls: _Class) -> _Class:
        for name, (kind, template) in words.items():
            setattr(cls, name, _worded(vars(cls)[name], kind, template))
        return cls

    return decorate


def _worded(method: Callable[..., Any], kind: type[MltrackError], template: str) -> Callable[..., Any]:
    signature = inspect.signature(method)

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except kind as error:
            found: MltrackError = error
        except MlflowException as error:  # from a method of the same class, where it was translated already
            cause = error.__cause__
            if not isinstance(cause, kind) or error.message != as_mlflow(cause).message:
                raise
            found = cause
        with beginning(kind, template.format(**signature.bind(*args, **kwargs).arguments)):
            raise found

    return call


def raises_mlflow(cls: _Class) -> _Class:
    """A class decorator: its public methods raise MLflow's exceptions instead of ours."""
    for name, method in list(vars(cls).items()):
        if not name.startswith("__") and callable(method) and not isinstance(method, type):
            setattr(cls, name, _translated(method))
    return cls


def _translated(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except MltrackError as error:
            raise (_of_gone_store(args) or as_mlflow(error)) from error

    return call


def _of_gone_store(args: tuple[Any, ...]) -> MlflowException | None:
    """The error to raise instead if the store of ``args[0]`` is gone, which explains any other error."""
    layout = getattr(getattr(args[0], "__dict__", {}).get("_store"), "layout", None) if args else None
    if layout is None or layout.exists():
        return None
    return as_mlflow(layout.gone())
