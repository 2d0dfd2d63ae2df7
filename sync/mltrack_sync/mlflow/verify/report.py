"""What a comparison with a remote found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mltrack_sync.mlflow.verify.findings import Difference

__all__ = ["VerifyReport"]


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was compared, and each thing that is not the same on both sides.

    ``runs``, ``models``, ``model_versions``, ``logged_models`` and ``traces`` count those compared; the others what was
    found equal: ``points`` of those read back (0 with ``quick``), ``artifact_bytes`` of those downloaded and hashed,
    ``model_ties`` of runs to models they used or made. ``lacking`` says, a line for each, what the remote
    has no place for and was therefore not compared. What has no entry in ``differences`` is there whole.
    """

    remote: str
    url: str
    quick: bool = False
    runs: int = 0
    params: int = 0
    tags: int = 0
    metrics: int = 0
    points: int = 0
    artifacts: int = 0
    artifact_bytes: int = 0
    datasets: int = 0
    model_ties: int = 0
    models: int = 0
    model_versions: int = 0
    logged_models: int = 0
    traces: int = 0
    spans: int = 0
    assessments: int = 0
    seconds: float = 0.0
    differences: tuple[Difference, ...] = ()
    lacking: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def differing(self) -> set[str]:
        """The ids of runs in which something differs."""
        return {difference.run_id for difference in self.differences if difference.run_id}
