"""Counts and edges as wandb has them, as a histogram whose edges rise. Shared by the importer and ``mltrack.wandb``."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from mltrack.values.rich import Histogram

__all__ = ["histogram_of"]

WIDTH = 1e-6
"""Half the width, in parts of the value, of the bin of a value that is the only one."""


def histogram_of(counts: Sequence[float], edges: Sequence[float]) -> Histogram:
    """A histogram of n counts between n+1 edges; those of bins without a width go to the bin after, or the last one.

    ``watch`` gives such bins: for a parameter with one element, and for float32 values that lie close together.

    Raises:
        UsageError: they are not counts and edges.
    """
    if len(counts) + 1 != len(edges) or all(a < b for a, b in pairwise(edges)):
        return Histogram.from_counts(counts, edges)
    if edges[0] == edges[-1]:
        width = max(abs(edges[0]), 1.0) * WIDTH
        return Histogram.from_counts([sum(counts)], [edges[0] - width, edges[0] + width])
    kept, limits, waiting = list[float](), [edges[0]], 0.0
    for count, edge in zip(counts, edges[1:], strict=True):
        if edge == limits[-1]:
            waiting += count
        else:
            kept.append(count + waiting)
            limits.append(edge)
            waiting = 0.0
    kept[-1] += waiting
    return Histogram.from_counts(kept, limits)
