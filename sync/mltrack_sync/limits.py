"""What a remote takes at once, and which keys and values it would refuse or cut."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, replace

__all__ = ["MLFLOW_LIMITS", "Limits"]

_KEY = re.compile(r"[/\w.\- :]*")
_HALF = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Limits:
    """One remote's limits; each name ends with its unit."""

    batch_metrics_max: int = 1000
    batch_params_max: int = 100
    batch_tags_max: int = 100
    batch_items_max: int = 1000
    request_bytes_max: int = 1_000_000
    key_chars_max: int = 250
    param_value_chars_max: int = 6000
    tag_value_chars_max: int = 8000
    history_page_rows: int = 25_000
    search_page_rows: int = 1000

    def halved(self) -> Limits:
        """Half as much per request, after one was too large."""
        return replace(
            self,
            batch_metrics_max=max(1, self.batch_metrics_max // 2),
            batch_params_max=max(1, self.batch_params_max // 2),
            batch_tags_max=max(1, self.batch_tags_max // 2),
            batch_items_max=max(1, self.batch_items_max // 2),
            request_bytes_max=max(1000, self.request_bytes_max // 2),
        )

    def refuse_key(self, key: str) -> str | None:
        """Why the remote takes no such metric, param or tag name; None when it does."""
        if len(key) > self.key_chars_max:
            return f"name of {len(key)} characters: the remote takes {self.key_chars_max}"
        if _KEY.fullmatch(key) is None:
            odd = next(c for c in key if _KEY.fullmatch(c) is None)
            return f"name holds {odd!r}: the remote takes letters, digits and / _ - . : and space"
        path = posixpath.normpath(key)
        if path != key or path == "." or path.startswith(("..", "/")):
            return "name is no clean path: the remote takes no '//', '..', nor a '/' at either end"
        return None

    def refuse_param(self, key: str, value: str) -> str | None:
        """Why this param can't arrive as it is; None when it can."""
        return self.refuse_key(key) or _refuse_text("param", value, self.param_value_chars_max)

    def refuse_tag(self, key: str, value: str) -> str | None:
        """Why this tag can't arrive as it is; None when it can."""
        return self.refuse_key(key) or _refuse_text("tag", value, self.tag_value_chars_max)


def _refuse_text(what: str, value: str, chars_max: int) -> str | None:
    if len(value) > chars_max:
        return f"{what} value of {len(value)} characters: the remote would cut it to {chars_max}"
    if _HALF.search(value):
        return f"{what} value holds half a character (a lone surrogate), which is no text"
    return None


MLFLOW_LIMITS = Limits()
"""The open-source MLflow server's, and those documented for servers beside it."""
