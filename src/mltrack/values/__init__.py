"""The values that can be logged: scalars, columns of points, rich values, media, tables and datasets."""

from __future__ import annotations


def __getattr__(name: str) -> object:
    """The names of the module that had this path before."""
    from mltrack.moved import find_name

    return find_name(__name__, name)
