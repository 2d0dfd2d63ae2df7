"""What a run failed with, as the text of the tag ``mltrack.error``: bounded, and without secrets."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from mltrack.process.secret_patterns import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ERROR_CHARACTERS_MAX", "error_text", "traceback_text"]

ERROR_CHARACTERS_MAX = 4_000
_READ_MAX = 4 * ERROR_CHARACTERS_MAX
"""So much of the end is searched for secrets: one that is cut in half here is not in what is kept."""


def traceback_text(error: BaseException) -> str:
    """The traceback of an error, and of those that caused it, as Python prints them."""
    return error_text("".join(traceback.format_exception(error)), Redactor.from_environment().text)


def error_text(words: str, redact: Callable[[str], str]) -> str:
    """The end of a long text, which says most, without secrets."""
    text = redact(words.lstrip("\n").rstrip()[-_READ_MAX:])
    return text if len(text) <= ERROR_CHARACTERS_MAX else "..." + text[3 - ERROR_CHARACTERS_MAX :]
