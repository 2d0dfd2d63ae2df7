"""The arguments of the registry's calls: checked as MLflow does, in its words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["check_at_most", "invalid", "tag_texts", "text_of"]


def tag_texts(tags: Iterable[Any] | None, check: Callable[[str, str], None]) -> dict[str, str]:
    """Tags by key, each checked; the last one of a key counts."""
    given: dict[str, str] = {}
    for tag in tags or ():
        check(tag.key, tag.value)
        given[tag.key] = text_of(tag.value)
    return given


def text_of(value: object) -> str:
    """The value of a tag as it is kept."""
    return "" if value is None else str(value)


def check_at_most(max_results: int, limit: int) -> None:
    """Refuse pages that are larger than MLflow allows.

    Raises:
        MlflowException: it is one.
    """
    if max_results > limit:
        raise invalid(
            f"Invalid value for request parameter max_results. It must be at most {limit}, but got value {max_results}"
        )


def invalid(message: str) -> MlflowException:
    """The error of an argument that is not valid."""
    return MlflowException(message, error_code=INVALID_PARAMETER_VALUE)
