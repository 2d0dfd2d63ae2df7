"""What MLflow's calls return for ``synchronous=False``: here everything is stored when a call returns."""

from __future__ import annotations

__all__ = ["DONE", "RunOperations"]


class RunOperations:
    """The rest of a call's work, which is nothing."""

    def wait(self) -> None:
        """Return: what was logged is stored."""


DONE = RunOperations()
