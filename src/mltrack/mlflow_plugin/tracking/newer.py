"""Methods that a newer MLflow adds to its abstract tracking store: passed on to its SQL store, or refused.

MLflow's abstract methods are not enforced: one that is left out returns None.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from mltrack.mlflow_plugin.tracking.database import delegate
from mltrack.mlflow_plugin.tracking.unsupported import refusal

__all__ = ["interface_methods", "with_newer_methods"]

_RECORDED = re.compile(r"(?:^|_)(?:runs?|metrics?|params?|inputs?|outputs?|models?|traces?|spans?|assessments?)(?:_|$)")
"""What the store keeps in its own form: MLflow's tables know nothing of it."""
_RAISING = {"NotImplementedError", "MlflowNotImplementedException", "__class__", "__name__"}

_Class = TypeVar("_Class", bound=type)


def interface_methods(abstract: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The public methods of MLflow's interface, with those of its mixins."""
    for kind in abstract.__mro__:
        if kind.__module__.startswith("mlflow."):
            for name, member in vars(kind).items():
                if inspect.isfunction(member) and not name.startswith("_") and not name.startswith("supports_"):
                    yield name, member


def with_newer_methods(cls: _Class, abstract: type) -> _Class:
    """The class with an implementation for each method that only ``abstract`` has, and without a body.

    A method is passed on to MLflow's SQL store, unless its name or its arguments are about runs, models or traces.
    """
    for name, member in interface_methods(abstract):
        if getattr(cls, name) is member and _is_empty(member):
            own = any(_RECORDED.search(word) for word in (name, *inspect.signature(member).parameters))
            setattr(cls, name, _refuse(name) if own else delegate(name))
    return cls


def _is_empty(member: Callable[..., Any]) -> bool:
    """Whether a method calls nothing: it returns None, or raises that it is not implemented."""
    return bool(getattr(member, "__isabstractmethod__", False)) or set(member.__code__.co_names) <= _RAISING


def _refuse(name: str) -> Callable[..., Any]:
    def refuse(self: object, *args: Any, **kwargs: Any) -> Any:
        raise refusal(name, "this method of a newer MLflow")

    return refuse
