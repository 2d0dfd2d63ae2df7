"""An endpoint: where requests go, how each is authorised, and until when that holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["HISTORY", "Endpoint"]

HISTORY = "history"
"""Azure's run history, a service beside MLflow's."""
REFRESH_AHEAD_S = 300.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a workspace hands out.

    Requests go to ``base_url`` + ``/api/2.0/mlflow/...``. ``authorize()`` is asked for headers before each request,
    so that secrets are held nowhere else. ``expires_at`` is in seconds since the epoch; None means it stays.
    ``services`` are base URLs of what else is there, by name.
    """

    base_url: str
    authorize: Callable[[], Mapping[str, str]]
    expires_at: float | None = None
    refresh_ahead_s: float = REFRESH_AHEAD_S
    services: Mapping[str, str] = field(default_factory=dict)

    def is_due(self, now: float) -> bool:
        """Whether it is worth asking for a fresh one."""
        return self.expires_at is not None and self.expires_at - now < self.refresh_ahead_s
