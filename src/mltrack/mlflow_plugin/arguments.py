"""The arguments of the stores' calls: read and checked as MLflow does, in its words."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.utils.search_utils import SearchUtils

from mltrack.errors import MltrackError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["check_at_most", "invalid", "offset_of", "parsing", "tag_texts", "text_of"]


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


@contextlib.contextmanager
def parsing(what: str, text: object) -> Iterator[None]:
    """Have what MLflow's parsers raise of a text that they can't read be an error of the argument ``what``.

    Raises:
        MlflowException: in the parser's own words, if it has any.
    """
    try:
        yield
    except (MlflowException, MltrackError):
        raise
    except (ValueError, TypeError, AttributeError, SyntaxError, RecursionError) as error:
        raise invalid(f"Invalid {what}: {text!r} ({error})") from error


def offset_of(page_token: str | None) -> int:
    """Where the page of a token begins, at least 0; 0 without a token.

    Raises:
        MlflowException: it is not a token.
    """
    with parsing("page token", page_token):
        return max(0, int(SearchUtils.parse_start_offset_from_page_token(page_token)))


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
