"""The columns of `mltrack ls`: which values they have of a run, and which ones the user last chose for a store."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, NamedTuple

from mltrack.catalog.aggregates import aggregate_in
from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.disk.user_folder import settings_folder
from mltrack.environment import ALERT_TAG
from mltrack.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from mltrack.cli.select import Found

__all__ = ["DEFAULT", "ColumnMemory", "aggregates_of", "alert_count", "split_columns", "value_of"]

DEFAULT = "default"
"""What ``--columns`` takes to forget the columns that were chosen."""

FILE_BYTES_MAX = 1 << 20
STORES_MAX = 200


def split_columns(options: Sequence[str]) -> list[str]:
    """The names in options such as ``loss,params.lr`` and ``min(loss)``: commas in brackets or quotes separate none."""
    names = []
    for option in options:
        depth, quote, start = 0, "", 0
        for at, sign in enumerate(option):
            if quote:
                quote = "" if sign == quote else quote
            elif sign in '`"':
                quote = sign
            elif sign in "()":
                depth += 1 if sign == "(" else -1
            elif sign == "," and depth <= 0:
                names.append(option[start:at])
                start = at + 1
        names.append(option[start:])
    return list(dict.fromkeys(name.strip() for name in names if name.strip()))


def aggregates_of(columns: Sequence[str]) -> list[str]:
    """Those columns that are aggregates, such as ``min(loss)``."""
    return [name for name in columns if aggregate_in(name) is not None]


def alert_count(run: Found) -> int:
    """How many rules have found something in a run, by its tags."""
    return sum(key.startswith(f"{ALERT_TAG}.") for key in run.data.tags)


class Value(NamedTuple):
    """What a run has in a column: a number, or a text."""

    number: float | None = None
    text: str = ""

    def shown(self, number: Callable[[float], str]) -> str:
        """As text."""
        return self.text if self.number is None else number(self.number)


def value_of(run: Found, name: str) -> Value:
    """What a run has in the column ``name``: a metric, an aggregate, ``params.NAME``, ``tags.NAME``, or a param."""
    kind, _, key = name.partition(".")
    data = run.data
    if name in data.metrics:
        return Value(data.metrics[name])
    if kind in ("params", "tags") and key:
        return Value(text=str((data.params if kind == "params" else data.tags).get(key, "")))
    if kind == "metrics" and key in data.metrics:
        return Value(data.metrics[key])
    found = aggregate_in(name)
    if found is not None and found.name in run.aggregates:
        return Value(run.aggregates[found.name])
    return Value(text=str(data.params.get(name, "")))


class ColumnMemory:
    """The columns that the user chose last, by store: ``columns.json`` in the user's folder for settings.

    They are not kept in the store, which others may use and which need not be writable.
    """

    def __init__(self, *, environ: Mapping[str, str] = os.environ, fs: FileSystem = LOCAL) -> None:
        self._environ = environ
        self._fs = fs

    @property
    def path(self) -> Path:
        """The file.

        Raises:
            StoreError: this user has no folder for settings.
        """
        folder = settings_folder(self._environ)
        if folder is None:
            raise StoreError("no home folder to remember columns in", hint="set XDG_CONFIG_HOME")
        return folder / "columns.json"

    def get(self, store_id: str) -> list[str] | None:
        """The columns that are remembered for a store; None if there are none, or they can't be read."""
        found = self._all().get(store_id)
        return found if isinstance(found, list) and all(isinstance(name, str) for name in found) else None

    def put(self, store_id: str, columns: Sequence[str] | None) -> bool:
        """Remember columns; None forgets them. Whether that succeeded: not if the folder can't be written."""
        try:
            known = {key: value for key, value in self._all().items() if key != store_id}
            if columns is not None:
                known[store_id] = list(columns)
            kept = dict(list(known.items())[-STORES_MAX:])
            path = self.path
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fs.publish_bytes(path, json.dumps(kept, indent=2).encode())
        except (OSError, StoreError):
            return False
        return True

    def _all(self) -> dict[str, object]:
        try:
            with open(self.path, "rb") as file:
                found = json.loads(file.read(FILE_BYTES_MAX))
        except (OSError, StoreError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}
