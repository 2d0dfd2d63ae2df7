"""What an answer says: its error message, whether the request was too large, when to retry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mltrack.text.redaction import hide, remember_url

if TYPE_CHECKING:
    from mltrack_sync.http.body import Answer

__all__ = ["capped", "error_words", "is_too_large", "retry_after_s", "shown_url", "without_password"]

WORDS_MAX = 1000
"""How many characters of a server's message are kept: they go to ledgers, logs and screens."""

RETRY_AFTER_MAX_S = 86_400.0

_TOO_MUCH = re.compile(
    r"can contain at most|must be at most \d+ bytes|over the size limit.*FieldName=\S*/Count"
    r"|(?:request|payload|body|batch|content)(?: entity| length| size)?(?: is| was)? too (?:large|long)",
    re.IGNORECASE,
)
"""A request that holds too much, in the words of MLflow, Azure ML and proxies. Not one value that is too long:
Azure's "A field of the entity is over the size limit. FieldName=.../Length", "Metric Document is too large"."""


def error_words(fields: Mapping[str, Any] | None) -> tuple[str, str]:
    """The error code and message in an answer, in any of the shapes MLflow servers use."""
    if not fields:
        return "", ""
    nested = fields.get("error", fields.get("Error"))
    if isinstance(nested, dict):  # where both are given, MLflow's codes say more than Azure's
        code = fields.get("error_code") or nested.get("code", nested.get("Code", ""))
        return hide(_word(code))[:100], capped(_word(nested.get("message", nested.get("Message", ""))))
    return hide(_word(fields.get("error_code", "")))[:100], capped(_word(fields.get("message", "")))


def _word(value: Any) -> str:
    return value if isinstance(value, str) else str(value)[: 2 * WORDS_MAX] if isinstance(value, int | float) else ""


def capped(words: str) -> str:
    """A foreign message, shortened; secrets are removed first, as a part of one can't be recognised."""
    words = hide(words)
    return words if len(words) <= WORDS_MAX else f"{words[:WORDS_MAX]}... ({len(words):,} characters)"


def is_too_large(status: int, words: str) -> bool:
    """Whether it says that the request was too large."""
    return status == 413 or (status == 400 and _TOO_MUCH.search(words) is not None)


def retry_after_s(response: Answer, now: float) -> float | None:
    """The seconds after which to retry, if it says so; ``now`` in seconds since the epoch."""
    text = response.headers.get("Retry-After", "").strip()[:100]
    if re.fullmatch(r"[0-9]{1,18}(\.[0-9]*)?", text, re.ASCII):
        return min(float(text), RETRY_AFTER_MAX_S)
    from email.utils import parsedate_to_datetime

    try:
        wanted = parsedate_to_datetime(text).timestamp() - now
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return min(max(0.0, wanted), RETRY_AFTER_MAX_S)


def without_password(uri: str) -> str:
    """An artifact URI of a server without its password, so that it may be stored."""
    try:
        parts = urlsplit(uri)
        if parts.password is None:
            return uri
        remember_url(uri)
        return parts._replace(netloc=f"{parts.username}:@{parts.netloc.rpartition('@')[2]}").geturl()
    except ValueError:
        return uri


def shown_url(location: str) -> str:
    """Where a redirect leads, without the parts that may be secret."""
    try:
        parts = urlsplit(location[: 4 * WORDS_MAX])
    except ValueError:
        return "an address that can't be read"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()[:WORDS_MAX]
