"""Where a run's counted steps continue: after its greatest step, whichever process logged it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mltrack.journal.rich_series import journals, read_lines
from mltrack.storage.runs.stored_run import StoredRun
from mltrack.storage.runs.visibility import SYSTEM_METRICS

if TYPE_CHECKING:
    from mltrack.disk.layout import RunFolder

__all__ = ["next_step"]

STEP_MAX = 2**63 - 1


def next_step(folder: RunFolder) -> int:
    """One more than the greatest step of its points and series but system metrics; 0 for a run without any.

    All points are read, about ten million a second.
    """
    run = StoredRun(folder)
    greatest = -1
    for _, piece in run.read_points():
        steps = piece.steps
        measured = [number for number, key in enumerate(piece.keys) if key.startswith(SYSTEM_METRICS)]
        if measured:
            steps = steps[~np.isin(piece.codes, measured)]
        if len(steps):
            greatest = max(greatest, int(steps.max()))
    counts = run.line_filter() or (lambda line: True)
    for path in journals(folder.path):
        lines = (line for line in read_lines(path, damage=run.damage) if counts(line))
        greatest = max([greatest, *(line.fields["step"] for line in lines)])
    return min(greatest + 1, STEP_MAX)
