"""The points of a run that gets a sample of its history: those that are due at or after the ledger's positions.

What was looked at is looked at again after a restart; a process that pushes a live run again and again keeps what it
needs to go on from where it stood.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mltrack_sync.mlflow.plan.rewinds import rewinds_in_force
from mltrack_sync.mlflow.plan.sampling import Chosen, Sampler

if TYPE_CHECKING:
    from collections.abc import Callable

    from mltrack.disk.segment import PointColumns
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack_sync.ledger.runs import Sampled

__all__ = ["Due", "count_due", "due_points", "sampled_points"]

PIECE_POINTS_MIN = 1000
"""So many points are collected at least before they are handed on: a request is to be full."""
BLOCK_POINTS_MIN = 1 << 16
"""So many points are looked at together at least: files of points come in smaller pieces."""
KEPT_MAX = 8
KEPT_ROWS_MAX = 1 << 18
_ALL = 1 << 62


class Due(NamedTuple):
    """Points of one writer to be sent: in ``points`` each has as its seq when it was due, not its own seq.

    Several may be due at once. Once they are there, the writer is at position ``end``.
    """

    writer: str
    points: PointColumns
    end: int


def due_points(
    run: StoredRun,
    sampled: Sampled,
    after: Mapping[str, int],
    check: Callable[[], None] = lambda: None,
    rewinds: Collection[str] | None = None,
) -> Iterator[Due]:
    """What of a run's points goes, and is due at or after the positions ``after``.

    Args:
        run: The run.
        sampled: How its points go.
        after: The positions, by writer.
        check: Called every now and then; may raise what ends it.
        rewinds: The rewinds that the points go by; by default those in force.
    """
    from mltrack.disk.segment import BLOCK_ROWS  # here: it imports Arrow

    counting = rewinds_in_force(run) if rewinds is None else tuple(rewinds)
    for writer in [source.writer for source in run.point_sources()]:
        start = after.get(writer, 0)
        if start > sampled.ended.get(writer, _ALL):
            continue  # all of it is there
        key = (str(run.folder.path), writer, sampled.history, counting)
        sampler = _KEPT.take(key, start) or Sampler(sampled.history)
        blocks = run.read_points({writer: sampler.end}, rows_max=BLOCK_ROWS, writer=writer, rewinds=counting)
        held: list[Chosen] = []
        for block in _larger(blocks):
            check()
            held.append(_left(sampler.add(block), start, sampled.whole.get(writer, 0)))
            if sum(len(one.due) for one in held) >= PIECE_POINTS_MIN:
                yield _joined(writer, held, sampler.end)
                held = []
        if writer in sampled.ended:
            held.append(_left(sampler.finish(), start, sampled.whole.get(writer, 0)))
            yield _joined(writer, held, sampler.end + 1)
        else:
            if held:
                yield _joined(writer, held, sampler.end)
            _KEPT.keep(key, sampler)


def count_due(run: StoredRun, sampled: Sampled, after: Mapping[str, int], doubt: Mapping[str, int]) -> tuple[int, int]:
    """How many points are due at or after these positions, and how many of them before the seqs in ``doubt``."""
    points = in_doubt = 0
    for due in due_points(run, sampled, after):
        points += len(due.points)
        in_doubt += int(np.count_nonzero(due.points.seqs < doubt.get(due.writer, 0)))
    return points, in_doubt


def sampled_points(run: StoredRun, sampled: Sampled) -> Iterator[PointColumns]:
    """All points of a run that are to be on the remote, in pieces."""
    for due in due_points(run, replace(sampled, whole={}), {}):
        yield due.points
    if sampled.whole:
        for writer, points in run.read_points():
            before = points.seqs < sampled.whole.get(writer, 0)
            if before.any():
                yield points.take(before)


def _larger(blocks: Iterable[tuple[str, PointColumns]]) -> Iterator[PointColumns]:
    """The same points in pieces that are worth the work that each costs."""
    held: list[PointColumns] = []
    for _, block in blocks:
        held.append(block)
        if sum(map(len, held)) >= BLOCK_POINTS_MIN:
            yield _join(held)
            held = []
    if held:
        yield _join(held)


def _join(pieces: list[PointColumns]) -> PointColumns:
    """Pieces of one writer's points as one; each may number its metrics in its own way."""
    if len(pieces) == 1:
        return pieces[0]
    from mltrack.disk.segment import PointColumns

    codes_of: dict[str, int] = {}
    codes = []
    for piece in pieces:
        own = np.array([codes_of.setdefault(key, len(codes_of)) for key in piece.keys], np.int64)
        codes.append(own[piece.codes] if len(piece) else piece.codes)
    return PointColumns(
        list(codes_of),
        np.concatenate(codes),
        np.concatenate([piece.seqs for piece in pieces]),
        np.concatenate([piece.steps for piece in pieces]),
        np.concatenate([piece.times for piece in pieces]),
        np.concatenate([piece.values for piece in pieces]),
    )


def _left(chosen: Chosen, start: int, whole: int) -> Chosen:
    """What has not gone yet: due from ``start`` on, and not among the first that went whole."""
    keep = (chosen.due >= start) & (chosen.points.seqs >= whole)
    return chosen if keep.all() else Chosen(chosen.points.take(keep), chosen.due[keep])


def _joined(writer: str, held: list[Chosen], end: int) -> Due:
    return Due(writer, _join([replace(one.points, seqs=one.due) for one in held]), end)


# --- what is kept from push to push ------------------------------------------------------------------------------

_Key = tuple[str, str, int, tuple[str, ...]]


class _Kept:
    """Samplers of writers that live, each as it was when all before its position had been looked at."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._samplers: OrderedDict[_Key, Sampler] = OrderedDict()

    def take(self, key: _Key, position: int) -> Sampler | None:
        """The sampler that stands there; it is the caller's now."""
        with self._lock:
            known = self._samplers.pop(key, None)
        return known if known is not None and known.end == position else None

    def keep(self, key: _Key, sampler: Sampler) -> None:
        """Keep one, if it is not large; the one not used for longest goes."""
        if sampler.rows > KEPT_ROWS_MAX:
            return
        with self._lock:
            self._samplers[key] = sampler
            while len(self._samplers) > KEPT_MAX:
                self._samplers.popitem(last=False)


_KEPT = _Kept()
