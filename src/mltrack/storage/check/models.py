"""Checking logged models: the lines of each, and the files that they name."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import TEMPORARY
from mltrack.disk.line_types import MODEL
from mltrack.errors import NotFoundError
from mltrack.storage.check.artifacts import artifact_fault, files_of
from mltrack.storage.check.report import LEFTOVER_ADVICE, check_log, is_old
from mltrack.storage.models.models import LoggedModels

if TYPE_CHECKING:
    from collections.abc import Callable

    from mltrack.disk.layout import Layout, ModelFolder
    from mltrack.entities import LoggedModel
    from mltrack.storage.check.report import CheckReport

__all__ = ["check_models"]


def check_models(layout: Layout, report: CheckReport, *, now: Callable[[], float]) -> None:
    """Check all logged models of a store; findings go to ``report``."""
    models = LoggedModels(layout, clock=time.time_ns)
    for model_id in models.ids():
        folder = layout.model(model_id)
        try:
            _check_model(folder, models, report, now())
        except NotFoundError:
            continue  # removed meanwhile
        except FileNotFoundError:
            if folder.path.exists():  # else it was removed meanwhile
                report.note(
                    folder.path, "has no model: its process died before it began", LEFTOVER_ADVICE, removable=True
                )
        except OSError as error:
            path = Path(error.filename or folder.path)
            report.error(path, f"can't be read: {error.strerror}", "check its permissions and the disk")
    for damage in models.damage:
        if damage.offset is None:  # intact lines without some fields; others were reported with their place
            report.damage(damage)


def _check_model(folder: ModelFolder, models: LoggedModels, report: CheckReport, now_s: float) -> None:
    os.stat(folder.log)
    sound = _check_lines(folder, report)
    try:
        model = models.get(folder.model_id)
    except NotFoundError:
        if not sound or any(files_of(folder.artifacts)):
            report.error(folder.path, "the line that made the model is lost, so that it is not listed")
        elif folder.path.exists():
            report.note(folder.path, "has no model: its process died before it began", LEFTOVER_ADVICE, removable=True)
        return
    report.models += 1
    _check_artifacts(folder, model, models, report)
    for path, name in files_of(folder.path):
        if is_old(path, now_s):  # a file that was just stored is about to be noted
            if name.endswith(TEMPORARY):
                report.note(path, "left behind by a process that died", LEFTOVER_ADVICE, removable=True)
            elif path.is_relative_to(folder.artifacts) and not _is_noted(path, folder, models):
                report.note(path, "is not recorded as an artifact", "log it, or move it out of the store")


def _check_lines(folder: ModelFolder, report: CheckReport) -> bool:
    """Whether every line is intact and none is missing."""
    before = len(report.findings)
    lines = check_log(folder.log, MODEL, report, may_be_empty=True)
    if lines and not lines[0].offset and lines[0].fields["type"] != "create":
        report.error(folder.log, f"begins with a {lines[0].fields['type']!r}, not with the line that made the model")
    return len(report.findings) == before


def _check_artifacts(folder: ModelFolder, model: LoggedModel, models: LoggedModels, report: CheckReport) -> None:
    for artifact in model.artifacts:
        report.artifacts += 1
        what = artifact_fault(folder.artifacts, artifact, report)
        if what is not None:  # it may just have been replaced
            newer = next((a for a in models.get(folder.model_id).artifacts if a.path == artifact.path), None)
            what = artifact_fault(folder.artifacts, newer, report) if newer is not None else None
        if what is not None:
            report.error(folder.artifacts / artifact.path, what)


def _is_noted(path: Path, folder: ModelFolder, models: LoggedModels) -> bool:
    name = path.relative_to(folder.artifacts).as_posix()
    return any(artifact.path == name for artifact in models.get(folder.model_id).artifacts)
