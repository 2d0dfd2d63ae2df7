"""Points that show twice, as they are a run's own and those of a writer that stands in for it: told, and taken out.

A copy takes them out by itself (storage/runs/stand_ins.py). A run whose folders were merged by hand has them until
then.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.errors import CorruptionError
from mltrack.storage.runs.stand_ins import doubled_points, replace_stand_ins
from mltrack.text.counting import plural

if TYPE_CHECKING:
    from mltrack.disk.layout import Layout, RunFolder
    from mltrack.storage.check.report import CheckReport

__all__ = ["check_stand_ins", "take_out_doubled"]

ADVICE = "run: mltrack repair"


def check_stand_ins(folder: RunFolder, report: CheckReport) -> None:
    """Look for such points of a run.

    Raises:
        OSError: a file can't be read.
    """
    count = 0
    with contextlib.suppress(CorruptionError):  # reported where the file is checked
        count = doubled_points(folder)
    if count:
        what = f"{plural(count, 'point')} of a pull from a server came again with the run's own and show twice"
        report.error(folder.path, what, ADVICE, run=folder.run_id)
        report.doubled.append(folder.run_id)


def take_out_doubled(layout: Layout, report: CheckReport, *, fs: FileSystem = LOCAL) -> int:
    """Take them out of all runs in which a check found some; returns how many that were.

    Raises:
        StoreError, OSError: the disk refuses.
    """
    return sum(replace_stand_ins(layout, run_id, fs=fs) for run_id in report.doubled)
