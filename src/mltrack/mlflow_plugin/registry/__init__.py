"""MLflow's model registry on a store."""

from __future__ import annotations


def __getattr__(name: str) -> object:
    """The names of the module that had this path before."""
    from mltrack.moved import find_name

    return find_name(__name__, name)
