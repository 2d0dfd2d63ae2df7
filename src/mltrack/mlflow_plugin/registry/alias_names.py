"""MLflow's checks of the names of aliases, which MLflow 3.18 renamed."""

from __future__ import annotations

from typing import Any

from mlflow.utils import validation

__all__ = ["check_alias", "check_alias_is_free"]


def _check(name: str, former: str) -> Any:
    return getattr(validation, name, None) or getattr(validation, former)


check_alias = _check("_validate_alias_name", "_validate_model_alias_name")
"""Whether it can be an alias's name."""

check_alias_is_free = _check("_validate_alias_name_reserved", "_validate_model_alias_name_reserved")
"""Whether it is not a name that MLflow gives a meaning of its own, such as ``latest``."""
