"""Writers whose points don't count while others take their place: ``live/arriving`` of a run.

It is there while the run's own writers are copied next to one that stands in for them (storage/runs/stand_ins.py).
It is replaced as a whole, so that at every moment either the one or the others count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mltrack.disk.codec import BadLine, decode_line, encode_line
from mltrack.disk.filesystem import LOCAL, FileSystem, read_small
from mltrack.disk.sync_line_types import ARRIVING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ARRIVING_FILE", "ArrivingWriters", "read_arriving", "write_arriving"]

ARRIVING_FILE = "arriving"
"""Its name in ``live``."""

BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class ArrivingWriters:
    """Names of writers that don't count.

    Attributes:
        arriving: Those that are being copied.
        made: New ones with what only a stand-in has, which are to take its place.
        replaced: Those that are to be removed, as others have their points; then the first two are empty.
    """

    arriving: frozenset[str] = frozenset()
    made: frozenset[str] = frozenset()
    replaced: frozenset[str] = frozenset()

    @property
    def hidden(self) -> frozenset[str]:
        """All of them."""
        return self.arriving | self.made | self.replaced


def read_arriving(run: Path) -> ArrivingWriters:
    """Those of a run's folder; none where nothing is being replaced."""
    try:
        fields = decode_line(read_small(f"{run}/live/{ARRIVING_FILE}", BYTES_MAX).rstrip(b"\n"), ARRIVING)
    except (OSError, BadLine):
        return ArrivingWriters()
    return ArrivingWriters(*(frozenset(fields[name]) for name in ("arriving", "made", "replaced")))


def write_arriving(run: Path, writers: ArrivingWriters, *, fs: FileSystem = LOCAL) -> None:
    """Replace them in one step.

    Raises:
        OSError: it can't be written.
    """
    path = run / "live" / ARRIVING_FILE
    if not writers.hidden:
        fs.unlink(path)
        return
    fs.make_durable_folder(path.parent)
    fields = {name: sorted(getattr(writers, name)) for name in ("arriving", "made", "replaced")}
    fs.publish_bytes(path, encode_line(fields))
