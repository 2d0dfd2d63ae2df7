"""What can be set of a remote, ``mltrack remote set NAME KEY=VALUE``, and which values each setting takes.

A setting is kept in the remote's table in remotes.toml, and is a field of ``Remote``. A kind says in
``settings`` which ones its remotes have.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from mltrack.errors import StoreError, UsageError
from mltrack_sync.remotes.sizes import parse_size

if TYPE_CHECKING:
    from mltrack_sync.remotes.kind import Kind

__all__ = [
    "HISTORY_MIN",
    "PRIVATE",
    "WHOLE",
    "ConfigurableKind",
    "Value",
    "default_workspace",
    "parse_history",
    "parse_settings",
    "read_settings",
]

Value = int | str

WHOLE = 0
"""The setting ``history`` of a remote that gets whole histories."""

HISTORY_MIN = 100
"""The least ``history``: fewer points would not draw a chart."""

HISTORY_MAX = 1_000_000


@runtime_checkable
class ConfigurableKind(Protocol):
    """A kind whose remotes have settings."""

    @property
    def settings(self) -> frozenset[str]:
        """The names of those that its remotes have."""


@dataclass(frozen=True, slots=True)
class _Setting:
    """How a value is read from what a user typed, and whether one in remotes.toml is valid."""

    parse: Callable[[str], Value]
    is_valid: Callable[[Any], bool]


def parse_history(text: str) -> int:
    """The number of points in a text such as ``2000``; WHOLE in ``whole`` and in ``0``.

    Raises:
        UsageError: it is neither.
    """
    if text.strip().lower() in ("whole", "0"):
        return WHOLE
    try:
        history = int(text.replace("_", "").replace(",", ""))
    except ValueError:
        history = -1
    if not _is_history(history):
        raise UsageError(
            f"history {text!r} is not a number of points",
            hint=f"give {HISTORY_MIN} to {HISTORY_MAX:,}, such as 2000; or whole, for all points",
        )
    return history


def _is_history(value: Any) -> bool:
    return type(value) is int and (value == WHOLE or HISTORY_MIN <= value <= HISTORY_MAX)


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 60


def _parse_command(text: str) -> str:
    """A command for the shell of another machine."""
    if not text.isprintable():
        raise UsageError("the command is not one line of text", hint="give one such as command=~/venv/bin/mltrack")
    return text


def _parse_workspace(text: str) -> str:
    """The name of a workspace, in MLflow's form.

    Raises:
        UsageError: no workspace can have such a name.
    """
    if not _WORKSPACE.fullmatch(text):
        raise UsageError(
            f"no workspace of an MLflow server is called {text!r:.80}",
            hint="give lower-case letters, digits and hyphens, such as workspace=team-a",
        )
    return text


_WORKSPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
WORKSPACE_VARIABLE = "MLFLOW_WORKSPACE"


def default_workspace(kind: str, environ: Mapping[str, str] = os.environ) -> str:
    """The workspace of remotes of a kind that name none: what MLflow's own variable says.

    Raises:
        UsageError: the variable holds no name of a workspace.
    """
    from mltrack_sync.remotes.kind import find_kind

    text = environ.get(WORKSPACE_VARIABLE, "").strip()
    if not text:
        return ""
    try:
        found = find_kind(kind)
    except UsageError:  # status shows remotes of unknown kinds, too
        return ""
    if not isinstance(found, ConfigurableKind) or "workspace" not in found.settings:
        return ""
    if not _WORKSPACE.fullmatch(text):
        raise UsageError(
            f"{WORKSPACE_VARIABLE}={text!r:.80} is not the name of a workspace", hint="unset or correct it"
        )
    return text


PRIVATE = frozenset({"command"})
"""Settings that are kept in the user's own folder and never taken from a store, which anybody may have written."""

_SETTINGS: Mapping[str, _Setting] = {
    "history": _Setting(parse_history, _is_history),
    "command": _Setting(_parse_command, lambda value: isinstance(value, str)),
    "max_artifact_size": _Setting(parse_size, _is_size),
    "workspace": _Setting(
        _parse_workspace, lambda value: isinstance(value, str) and _WORKSPACE.fullmatch(value) is not None
    ),
}

_FIELDS = {"workspace": "mlflow_workspace"}
"""Settings whose field of ``Remote`` has another name."""


def parse_settings(kind: Kind, pairs: Iterable[str]) -> dict[str, Value | None]:
    """The settings in texts such as ``history=2000``; None for one that is to be removed (``history=``).

    Raises:
        UsageError: a text is not a setting of remotes of this kind, or its value is not valid.
    """
    known = sorted(kind.settings) if isinstance(kind, ConfigurableKind) else []
    found: dict[str, Value | None] = {}
    for pair in pairs:
        name, equals, text = (part.strip() for part in pair.partition("="))
        if not equals:
            raise UsageError(f"{pair!r} is not a setting", hint="write KEY=VALUE, such as history=2000")
        if name not in known:
            hint = f"its settings: {', '.join(known)}" if known else "it has no settings"
            raise UsageError(f"remotes of kind {kind.name} have no setting {name!r}", hint=hint)
        found[name] = _SETTINGS[name].parse(text) if text else None
    return found


def read_settings(name: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in a remote's table of remotes.toml.

    Raises:
        StoreError: the value of one is not valid.
    """
    found = {key: table[key] for key in _SETTINGS.keys() - PRIVATE if key in table}
    for key, value in found.items():
        if not _SETTINGS[key].is_valid(value):
            raise StoreError(
                f"remotes.toml: {key} of remote {name!r} is not valid: {value!r:.60}",
                hint=f"mltrack remote set {name} {key}= removes it",
            )
    return {_FIELDS.get(key, key): value for key, value in found.items()}
