"""Values that are more than a number, recorded into a run: histograms, images, tables and texts."""

from __future__ import annotations

import io
from time import time_ns
from typing import IO, TYPE_CHECKING, Any, Protocol

from mltrack.process.trouble import TROUBLE
from mltrack.text.counting import plural
from mltrack.values.scalars import check_key, integer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mltrack.journal.recorder import Recorder
    from mltrack.journal.rich_series import SeriesJournal

__all__ = ["ImageRun", "RichLog", "rich_values"]


class ImageRun(Protocol):
    """The part of a run that images are stored through."""

    def log_stream(self, stream: IO[bytes], artifact_file: str) -> None:
        """Store the content of ``stream`` as an artifact."""

    def _tag_images(self) -> None: ...


def rich_values(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the values that are more than a number."""
    from mltrack.values.rich import RICH

    return {key: value for key, value in metrics.items() if isinstance(value, RICH)}


class RichLog:
    """The rich values that this process records into one run, and the artifacts made of them at its end."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._journals: dict[str, SeriesJournal] = {}  # by writer: a forked child has its own

    def log(self, run: ImageRun, metrics: Mapping[str, Any], rich: Mapping[str, Any], step: int) -> None:
        """Log metrics of which those in ``rich`` are more than a number; all are checked before any is stored.

        Args:
            run: where images go.
            metrics: all values, by name.
            rich: those of them that ``rich_values`` finds.
            step: of all of them.

        Raises:
            InvalidMetricError, RunStateError: as log_metric.
            UsageError: an image is invalid, or its name can't be a file's.
        """
        from mltrack.values.media import image_name, thumbnail
        from mltrack.values.rich import Image, encode_value

        step, now = integer("step", step), time_ns()
        lines, files = [], []
        for key, value in rich.items():
            try:
                if isinstance(value, Image):
                    name = image_name(None, key, step, now // 1_000_000)
                    image = value.encode(name)
                    files += [(name, image), thumbnail(image, name)[::-1]]
                else:
                    lines.append({"time": now, "key": check_key(key), "step": step, **encode_value(value)})
            except TROUBLE as error:
                self._recorder.lost_artifact(key, error)
        if lines:
            self._journal().check(lines)
        self._recorder.points.log_many({key: value for key, value in metrics.items() if key not in rich}, step, now)
        if lines:
            self._journal().append(lines)
        for name, data in files:
            run.log_stream(io.BytesIO(data), name)
        if files:
            run._tag_images()

    def end(self) -> None:
        """Close the journal, and make artifacts of what this run's journals hold."""
        journal = self._journals.pop(self._recorder.writer, None)
        try:
            if journal is None and not (self._recorder.folder.path / "series").is_dir():
                return
            from mltrack.journal.rich_series import SERIES_FOLDER
            from mltrack.storage.runs.series_artifacts import publish_series, unpublished_series

            if journal is not None:
                journal.move_to(self._recorder.folder.path / SERIES_FOLDER)
                journal.close()
                if journal.lost > 1:
                    self._recorder.lost_artifact(SERIES_FOLDER, OSError(f"lost: {plural(journal.lost, 'value')}"))
            if journal is not None or unpublished_series(self._recorder.folder):  # of children that have ended
                publish_series(self._recorder)
        except Exception as error:  # noqa: BLE001  # a broken NumPy raises anything; the series are whole in their journal
            self._recorder.lost_artifact("series", error)

    def _journal(self) -> SeriesJournal:
        from mltrack.journal.rich_series import SERIES_FOLDER, SeriesJournal

        writer, folder = self._recorder.writer, self._recorder.folder.path / SERIES_FOLDER
        journal = self._journals.get(writer)
        if journal is not None:
            journal.move_to(folder)
            return journal

        def lose(error: Exception) -> None:
            self._recorder.lost_artifact(SERIES_FOLDER, error)

        made = SeriesJournal(folder, writer, on_loss=lose, fs=self._recorder.fs, sync_start=self._recorder.sync_start)
        return self._journals.setdefault(writer, made)
