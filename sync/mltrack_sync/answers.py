"""What an answer says: its error in words, whether it was a matter of size, when to come again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

__all__ = ["error_words", "is_too_large", "json_object", "retry_after_s", "shown_url"]

_TOO_MUCH = re.compile(
    r"can contain at most|must be at most \d+ bytes|over the size limit.*FieldName=\S*/Count"
    r"|(?:request|payload|body|batch|content)(?: entity| length| size)?(?: is| was)? too (?:large|long)",
    re.IGNORECASE,
)
"""A request that holds too much, in the words of MLflow, Azure ML and proxies. A single value that is too long is not:
Azure's "A field of the entity is over the size limit. FieldName=.../Length", "Metric Document is too large"."""


def error_words(fields: Mapping[str, Any] | None) -> tuple[str, str]:
    """The error code and message in an answer, in any of the shapes MLflow servers use."""
    if not fields:
        return "", ""
    nested = fields.get("error", fields.get("Error"))
    if isinstance(nested, dict):  # Azure's own codes say less than MLflow's, where both are there
        code = fields.get("error_code") or nested.get("code", nested.get("Code", ""))
        return str(code), str(nested.get("message", nested.get("Message", "")))
    return str(fields.get("error_code", "")), str(fields.get("message", ""))


def json_object(response: httpx.Response) -> dict[str, Any] | None:
    """Its fields; None when it is no JSON object."""
    try:
        fields = response.json()
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None


def is_too_large(status: int, words: str) -> bool:
    """Whether it says that the request holds more than is taken at once."""
    return status == 413 or (status == 400 and _TOO_MUCH.search(words) is not None)


def retry_after_s(response: httpx.Response, now: float) -> float | None:
    """The seconds after which it wants to be asked again, if it says so; ``now`` in seconds since the epoch."""
    text = response.headers.get("Retry-After", "")
    if text.strip().isdigit():
        return float(text)
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except ValueError:
        return None


def shown_url(location: str) -> str:
    """Where a redirect leads, without what may be secret in it."""
    parts = urlsplit(location)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
