"""What MLflow's calls give for ``synchronous=False``: here everything is stored when a call returns."""

from __future__ import annotations

__all__ = ["DONE", "RunOperations"]


class RunOperations:
    """What a call has to do still, which is nothing."""

    def wait(self) -> None:
        """Return: what was logged is stored."""


DONE = RunOperations()
