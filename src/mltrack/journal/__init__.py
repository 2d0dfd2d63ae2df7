"""What one process writes to one run, from the first point to the sealed segment, and reading it back."""

from __future__ import annotations


def __getattr__(name: str) -> object:
    """The names of the module that had this path before."""
    from mltrack.moved import find_name

    return find_name(__name__, name)
