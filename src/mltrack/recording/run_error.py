"""What a run failed with, as the text of the tag ``mltrack.error``: bounded, and without secrets."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from mltrack.process.secret_patterns import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ERROR_CHARACTERS_MAX", "error_text", "traceback_text"]

ERROR_CHARACTERS_MAX = 4_000
_SEARCHED = (1 << 14, 1 << 17, 1 << 20)
"""So many characters of the end are searched for secrets: more where little is left of fewer."""


def traceback_text(error: BaseException) -> str:
    """The traceback of an error, and of those that caused it, as Python prints them."""
    return error_text("".join(traceback.format_exception(error)), Redactor.from_environment().text)


def error_text(words: str, redact: Callable[[str], str]) -> str:
    """The end of a long text, which says most, without secrets."""
    words, text, is_whole = words.lstrip("\n").rstrip(), "", False
    for size in _SEARCHED:
        text = redact(words[-size:])
        is_whole = len(words) <= size
        if not is_whole:
            text = text[ERROR_CHARACTERS_MAX:]  # it may begin with the second half of a secret, which looks like none
        if is_whole or len(text) >= ERROR_CHARACTERS_MAX:
            break
    if is_whole and len(text) <= ERROR_CHARACTERS_MAX:
        return text
    return "..." + text[3 - ERROR_CHARACTERS_MAX :]
