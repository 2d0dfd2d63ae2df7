"""A file of a medium, and what it is called in a run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

__all__ = ["MediaFile"]

ID_DIGITS = 20
"""So many digits of a file's SHA-256 are in its name."""


@dataclass(frozen=True, slots=True)
class MediaFile:
    """A file of a medium: its folder below ``media/``, content, suffix, and what the summary says of it."""

    kind: str
    data: bytes
    suffix: str
    about: dict[str, Any]

    def path(self, key: str, step: int) -> str:
        """Its path in the run, as wandb names it."""
        safe = key.replace("\\", "/").strip("/")
        digest = hashlib.sha256(self.data).hexdigest()[:ID_DIGITS]
        return f"media/{self.kind}/{safe}_{step}_{digest}{self.suffix}"
