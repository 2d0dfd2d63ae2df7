"""From which size on a file goes in parts, and how large they are, as MLflow's own variables say."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PartSizes"]

MIB = 1 << 20
PARTS_MAX = 10_000
PART_BYTES_MIN = 5 * MIB


@dataclass(frozen=True, slots=True)
class PartSizes:
    """From which size on a file goes in parts, and how large they are; ``file_bytes_min`` None means never."""

    file_bytes_min: int | None = 64 * MIB
    part_bytes: int = 16 * MIB

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> PartSizes:
        """As MLflow's own variables say; MLflow's clients send parts only if that is set, ours unless it is off."""
        if environ.get("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "").lower() in ("false", "0"):
            return cls(file_bytes_min=None)
        least = _whole_number(environ.get("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE"), 64 * MIB)
        part = _whole_number(environ.get("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE"), 16 * MIB)
        return cls(least, max(part, PART_BYTES_MIN))

    def take(self, size: int) -> bool:
        """Whether a file of ``size`` bytes goes in parts."""
        return self.file_bytes_min is not None and size >= max(self.file_bytes_min, 1)

    def part_bytes_for(self, size: int) -> int:
        """The size of parts for a file of ``size`` bytes: no more parts than an object store takes."""
        return max(self.part_bytes, -(-size // PARTS_MAX))


def _whole_number(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.strip().isdigit() else default
