"""Settings of a library as params: nested ones with dots in their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mltrack.values.rich import Text

__all__ = ["as_params", "loggable", "numbers"]

PARAM_CHARACTERS_MAX = 6000
"""What MLflow's servers take; longer texts are cut."""


def as_params(settings: Mapping[Any, Any], prefix: str = "") -> dict[str, str]:
    """Each setting as text, by the path of its names; names that are empty are left out."""
    found: dict[str, str] = {}
    for name, value in settings.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            found |= as_params(value, f"{key}.")
        elif key:
            found[key] = str(value)[:PARAM_CHARACTERS_MAX]
    return found


def numbers(values: Mapping[Any, Any]) -> dict[str, float]:
    """Those values that are one number each, tensors and arrays of one element included."""
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, str | bytes) or value is None:
            continue
        try:
            found[str(name)] = float(value)
        except (TypeError, ValueError, RuntimeError):
            continue
    return found


def loggable(values: Mapping[Any, Any], prefix: str = "") -> dict[str, float | Text]:
    """Those values that are one number or a text; of mappings, those inside, as ``name/key``."""
    found: dict[str, float | Text] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            found |= loggable(value, f"{key}/")
        elif isinstance(value, str):
            found[key] = Text(value)
        else:
            found |= numbers({key: value})
    return found
