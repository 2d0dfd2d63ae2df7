"""Items of wandb's records: a key, plain or nested, and a value in JSON."""

from __future__ import annotations

import json
from typing import Any

from mltrack.importers.protobuf import Fields
from mltrack.importers.wandb.names import join_key

__all__ = ["JsonError", "item_name", "item_value", "json_value", "set_nested", "split_item", "time_of"]


class JsonError(ValueError):
    """A value that is not JSON."""


def time_of(timestamp: Fields) -> int:
    """A Timestamp in ns since the epoch, 0 for what is not a time."""
    seconds, rest = timestamp.integer(1), timestamp.integer(2)
    return seconds * 1_000_000_000 + rest if abs(seconds) < 9_000_000_000 and abs(rest) < 1_000_000_000 else 0


def item_name(path: list[str]) -> str:
    """How wandb shows a nested key."""
    return join_key(path)


def split_item(item: Fields) -> tuple[list[str], bytes]:
    """The key's parts, and the value's JSON."""
    nested = [part.decode("utf-8", "replace") for part in item.contents(2)]
    return nested or [item.text(1)], item.content(16)


def json_value(text: bytes) -> Any:
    """The value in JSON; NaN and infinities, as wandb writes them, included.

    Raises:
        JsonError: it is not JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise JsonError(f"{text[:60]!r} is not JSON") from error


def item_value(item: Fields) -> tuple[list[str], Any]:
    """The key's parts, and the value.

    Raises:
        JsonError: it is not JSON.
    """
    path, text = split_item(item)
    return path, json_value(text)


def set_nested(fields: dict[str, Any], path: list[str], value: Any) -> None:
    """Set a field of a field."""
    for part in path[:-1]:
        inner = fields.get(part)
        if not isinstance(inner, dict):
            inner = fields[part] = {}
        fields = inner
    fields[path[-1]] = value
