"""Markers of writers that record into the same run in another store: ``live/<writer>.elsewhere`` in a copy of it.

The copying process writes one for each writer that was live when it looked, and removes it once a later copy sees that
the writer has closed or died. Until then the run counts as running, and nothing seals or removes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.disk.codec import BadLine, decode_line, encode_line
from mltrack.disk.filesystem import read_small
from mltrack.disk.sync_line_types import ELSEWHERE
from mltrack.entities import Elsewhere

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["MARKER_BYTES_MAX", "MARKER_SUFFIX", "encode_marker", "latest", "marker_path", "read_marker"]

MARKER_SUFFIX = ".elsewhere"
MARKER_BYTES_MAX = 1 << 12


def marker_path(run: Path, writer: str) -> Path:
    """Where the marker of a writer is, in the run's folder."""
    return run / "live" / f"{writer}{MARKER_SUFFIX}"


def encode_marker(elsewhere: Elsewhere) -> bytes:
    """The one line of a marker."""
    return encode_line({"host": elsewhere.host, "store": elsewhere.store_id, "time": elsewhere.time})


def read_marker(run: Path, writer: str) -> Elsewhere | None:
    """The marker of a writer; None if there is none, or it can't be read."""
    try:
        fields = decode_line(read_small(marker_path(run, writer), MARKER_BYTES_MAX).rstrip(b"\n"), ELSEWHERE)
    except (OSError, BadLine):
        return None
    return Elsewhere(fields["host"], fields["store"], fields["time"])


def latest(markers: Iterable[Elsewhere]) -> Elsewhere | None:
    """The one of the latest copy."""
    return max(markers, key=lambda marker: marker.time, default=None)
