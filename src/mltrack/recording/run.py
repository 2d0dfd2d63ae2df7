"""The record API: a run that is being recorded by this process."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import replace
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Any, Protocol, cast

from mltrack.disk.filesystem import relative_name
from mltrack.errors import (
    InvalidMetricError,
    ParamConflictError,
    RunStateError,
    UsageError,
)
from mltrack.journal.recorder import Recorder
from mltrack.process.ending import status_of
from mltrack.process.headroom import lacks_room, need_numpy
from mltrack.process.trouble import TROUBLE, say, words_of
from mltrack.recording.known_info import stored_info
from mltrack.recording.run_artifacts import RunFiles
from mltrack.recording.run_handles import arrive, keep
from mltrack.recording.run_links import RunInputs
from mltrack.values.scalars import check_key, integer, plain_columns, time_from_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

    import pyarrow as pa

    from mltrack.disk.layout import Layout, RunFolder
    from mltrack.entities import RunData, RunInfo
    from mltrack.journal.points import PointJournal
    from mltrack.journal.rich_series import SeriesJournal
    from mltrack.recording.folder_watch import FolderWatch
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack.values.rich import RichValue

__all__ = ["ActiveRun", "Run"]

END_STATUSES = ("FINISHED", "FAILED", "KILLED")


class Companion(Protocol):
    """Something that records into a run from a thread of its own, until it is stopped."""

    def stop(self) -> None:
        """Record the last and end; does nothing in a forked child, and nothing when called again."""


class Run(RunFiles, RunInputs):
    """A run open for recording; ``mltrack.start_run`` makes one. It is a context manager that ends the run.

    Pickled and sent to another process it arrives as a handle that joins the run, and does not end it.

    Every method may be called from any thread. What a call returned from survives ``kill -9``; power loss costs at most
    the last second. No call waits for another process or for a network, and none fails because of the disk: what can't
    be stored is counted, said once and reported at the end. Misuse raises at once.
    """

    def __init__(
        self,
        layout: Layout,
        recorder: Recorder,
        *,
        params: Mapping[str, str] | None = None,
        name: str = "",
        key: str | None = None,
    ) -> None:
        """Use ``mltrack.start_run``."""
        self.run_id = recorder.folder.run_id
        self.name = name
        self._recorder = recorder
        self._params = dict(params or {})
        self._datasets: set[tuple[str, str]] = set()  # name and digest of those logged here
        self._auto_step = 0 if recorder.role == "create" else None  # None: after what the run holds, once that is asked
        self._owner = os.getpid() if key is None else None
        self._key = key or recorder.writer
        keep(self, self._key)
        self._ended = False
        self._companions: list[Companion] = []
        self._rich: dict[str, SeriesJournal] = {}  # by writer: a forked child has one of its own
        self._images_tagged = False
        self.known_info: RunInfo | None = None  # from its start here
        self.on_end: Callable[[Run], None] | None = None  # told when it ends, however that comes about

    def __repr__(self) -> str:
        return f"Run({self.run_id!r}, {self.name!r}{', ended' if self._ended else ''})"

    def __reduce__(self) -> tuple[Callable[..., Run], tuple[Any, ...]]:
        layout = self._recorder.layout
        return _arrive, (self._key, str(layout.root), layout.store_id, self.run_id, self.name, self._params, self.ended)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end(status_of(error))

    @property
    def folder(self) -> RunFolder:
        """Where the run lies in its store."""
        return self._recorder.folder

    @property
    def store_folder(self) -> Path:
        """The store's folder."""
        return self._recorder.layout.root

    @property
    def points(self) -> PointJournal:
        """This process's point journal: what ``log_metric`` appends to."""
        return self._recorder.points

    # --- metrics ---

    def log_metric(self, key: str, value: float, step: int | None = None, *, timestamp: int | None = None) -> None:
        """Log one point of a metric.

        Args:
            key: the metric's name, any non-empty text.
            value: anything ``float()`` takes, and arrays and tensors of one element; NaN and infinities included.
            step: a whole number of 64 bits, 0 when not given (MLflow's rule); in any order, repeats are kept.
            timestamp: ms since the epoch, whole or not; now when not given.

        Raises:
            InvalidMetricError: a key, value, step or timestamp that is none; nothing was logged.
            RunStateError: the run has ended.
        """
        self._recorder.points.log(key, value, step, None if timestamp is None else time_from_ms(timestamp))

    def log_metrics(
        self, metrics: Mapping[str, float], step: int | None = None, *, timestamp: int | None = None
    ) -> None:
        """Log one point of each of several metrics, with the same step and time; all are checked before any is stored.

        Raises:
            InvalidMetricError, RunStateError: as log_metric.
        """
        self._recorder.points.log_many(metrics, step, None if timestamp is None else time_from_ms(timestamp))

    def log(self, metrics: Mapping[str, float | RichValue], step: int | None = None) -> None:
        """``log_metrics`` that counts steps by itself: without ``step``, one more than at the last call of ``log``.

        A run that is gone on with is counted on from its greatest step. Of several processes each counts for itself.

        Values may be histograms, images, tables and texts too (``mltrack.Histogram`` ...), beside plain numbers. When
        the run ends, histograms, tables and texts become artifacts as well, a table for each name below ``series/``.

        Raises:
            InvalidMetricError, RunStateError: as log_metric.
            UsageError: an image is none, or its name can be no file's.
        """
        if step is None:
            step = self._next_step()
        try:
            self._recorder.points.log_many(metrics, step)  # type: ignore[arg-type]  # others than numbers are refused
        except InvalidMetricError:
            if not self._log_rich(metrics, step):
                raise
        self._auto_step = step + 1

    def _next_step(self) -> int:
        """The step of the next ``log``. A run that is gone on with goes on after its greatest step: it is read once."""
        if self._auto_step is None:
            self._check_open()
            self._auto_step = 0
            try:
                lacking = lacks_room()
                if lacking is None:
                    from mltrack.storage.runs.step_counters import next_step

                    self._auto_step = next_step(self._recorder.folder)
            except Exception as error:  # noqa: BLE001  # a NumPy or Arrow that is broken raises anything
                lacking = words_of(error)
            if lacking is not None:
                say("run %s: steps are counted from 0: %s", self.run_id, lacking)
        return self._auto_step

    def _log_rich(self, metrics: Mapping[str, Any], step: int) -> bool:
        """Log what is more than a number, and the numbers beside it; False where nothing is."""
        from mltrack.values.media import image_name, thumbnail
        from mltrack.values.rich import RICH, Image, encode_value

        rich = {key: value for key, value in metrics.items() if isinstance(value, RICH)}
        if not rich:
            return False
        self._check_open()
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
        self._recorder.points.log_many({key: value for key, value in metrics.items() if key not in rich}, step, now)
        if lines:
            self._rich_journal().append(lines)
        for name, data in files:
            self.log_stream(io.BytesIO(data), name)
        if files:
            self._tag_images()
        return True

    def _rich_journal(self) -> SeriesJournal:
        """This process's; a forked child has its own."""
        from mltrack.journal.rich_series import SERIES_FOLDER, SeriesJournal

        writer, folder = self._recorder.writer, self._recorder.folder.path / SERIES_FOLDER
        found = self._rich.get(writer)
        if found is not None:
            found.move_to(folder)
        else:

            def lose(error: Exception) -> None:
                self._recorder.lost_artifact(SERIES_FOLDER, error)

            found = self._rich.setdefault(
                writer,
                SeriesJournal(folder, writer, on_loss=lose, fs=self._recorder.fs, sync_start=self._recorder.sync_start),
            )
        return found

    def _tag_images(self) -> None:
        """By this tag MLflow's UI knows that there are images to show."""
        if not self._images_tagged:
            self._images_tagged = True
            self.set_tag("mlflow.loggedImages", True)

    def log_series(self, name: str, values: Any, steps: Any = None, times: Any = None) -> None:
        """Log many points of one metric at once. On return they survive power loss.

        Args:
            name: the metric's name.
            values: n numbers: an array, a sequence, a pandas or Arrow column.
            steps: n integers; 0 to n-1 when not given.
            times: n times in ns since the epoch, or datetime64 values; now, for all, when not given.

        Raises:
            InvalidMetricError: values that are no numbers, or columns of different lengths; nothing was logged.
            RunStateError: the run has ended.
        """
        check_key(name)
        try:
            need_numpy()
            from mltrack.values.columns import as_columns
        except Exception as error:  # noqa: BLE001  # a NumPy that is broken raises anything as it is imported
            self._log_plain_series(name, values, steps, times, error)
            return
        try:
            columns = as_columns(name, values, steps, times)
        except MemoryError as error:
            self._recorder.points.lose(len(values), error)
        else:
            self._recorder.points.log_series(name, *columns)

    def _log_plain_series(self, name: str, values: Any, steps: Any, times: Any, error: Exception) -> None:
        """The same without NumPy, point by point."""
        say("run %s: log_series goes point by point: %s", self.run_id, words_of(error))
        for step, time, value in plain_columns(name, values, steps, times):
            self._recorder.points.log(name, value, step, time)
        self._recorder.sync()

    # --- params and tags ---

    def log_param(self, key: str, value: Any) -> Any:
        """Log a param, as text. The same value again is fine; returns ``value``.

        Raises:
            ParamConflictError: it has another value already: params can't change.
            UsageError: the key is no non-empty text.
            RunStateError: the run has ended.
        """
        self.log_params({key: value})
        return value

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log several params; all are checked before any is stored.

        Raises:
            ParamConflictError, UsageError, RunStateError: as log_param.
        """
        self._check_open()
        new = {check_key(key): str(value) for key, value in params.items()}
        for key, value in new.items():
            if self._params.get(key, value) != value:
                raise ParamConflictError(
                    f"param {key!r} is {_clip(self._params[key])} and can't become {_clip(value)}",
                    hint="params don't change: log it under another name, or use a tag",
                )
        added = {key: value for key, value in new.items() if key not in self._params}
        self._params |= added
        self._recorder.emit(*({"type": "param", "key": key, "value": value} for key, value in added.items()))

    def set_tag(self, key: str, value: Any) -> None:
        """Set a tag, as text; the last value stands.

        Raises:
            UsageError: the key is no non-empty text.
            RunStateError: the run has ended.
        """
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set several tags.

        Raises:
            UsageError, RunStateError: as set_tag.
        """
        self._check_open()
        self._recorder.emit(*({"type": "tag", "key": check_key(k), "value": str(v)} for k, v in tags.items()))

    def delete_tag(self, key: str) -> None:
        """Take a tag away; one that is not there is no error.

        Raises:
            RunStateError: the run has ended.
        """
        self._check_open()
        self._recorder.emit({"type": "tag", "key": check_key(key), "value": None})

    # --- watched folders ---

    def watch(
        self, folder: str | os.PathLike[str], artifact_path: str | None = None, *, existing: bool = True
    ) -> FolderWatch:
        """Make the files of a folder artifacts as they settle, from another thread, until the run ends.

        Each content is copied once; a file that changes replaces its artifact. Temporary files and hidden ones are left
        out, and links that lead out of the folder. The folder need not exist yet.

        Args:
            folder: the folder, with all below it.
            artifact_path: the artifact folder the files go to; the folder's own name when not given, "" for none.
            existing: take what is there already too.

        Returns:
            The watch; its ``stop()`` takes what is there then, and ends it before the run.

        Raises:
            UsageError: the folder lies in the store.
            InvalidPathError, RunStateError: as log_artifact.
        """
        from mltrack.recording.folder_watch import FolderWatch, Watched, check_folder

        self._check_open()
        path = Path(folder).absolute()
        check_folder(path, self.store_folder)
        into = path.resolve().name if artifact_path is None else artifact_path
        watched = Watched(path, relative_name(into) if into else "")
        watch = FolderWatch(self, [watched], written_since_ns=None if existing else time_ns())
        self.accompany(watch)
        return watch

    def accompany(self, companion: Companion) -> None:
        """Have ``companion`` stopped when the run ends, while it can still record."""
        self._companions.append(companion)

    # --- the end ---

    def flush(self) -> None:
        """Return when all that was logged so far survives power loss."""
        self._recorder.sync()

    def end(self, status: str = "FINISHED") -> None:
        """End the run: all is made durable and long metrics are sealed to Parquet. Calling it again does nothing.

        In a forked child, and where the run came to by pickle, only this process's own part ends; the run goes on.

        Raises:
            UsageError: ``status`` is not FINISHED, FAILED or KILLED.
        """
        if status not in END_STATUSES:
            raise UsageError(f"{status!r} is no status a run ends with", hint="one of " + ", ".join(END_STATUSES))
        if self._ended:
            return
        while self._companions:
            try:
                self._companions.pop().stop()
            except Exception as error:  # noqa: BLE001  # no end of a training fails for what went along with it
                say("run %s: %s", self.run_id, words_of(error))
        self._ended = True
        if self.known_info is not None:
            self.known_info = replace(self.known_info, status=status, end_time=time_ns() // 1_000_000, live=False)
        self._end_rich()
        self._record_found_files()
        if self.on_end is not None:
            self.on_end(self)
        if os.getpid() == self._owner:
            self._recorder.close({"type": "end", "status": status, "end_time": time_ns()})
        else:
            self._recorder.close()

    def hand_over(self, status: str = "SCHEDULED") -> None:
        """Let go of the run without ending it, for another process to go on with; it has ``status`` until then.

        Raises:
            RunStateError: the run has ended.
        """
        self._check_open()
        self._ended = True
        if self.on_end is not None:
            self.on_end(self)
        self._recorder.close({"type": "status", "status": status})

    def _record_found_files(self) -> None:
        """Record files that the program wrote into the artifact folder by itself."""
        if os.getpid() != self._owner:
            return
        try:
            folder = self._recorder.folder
            if folder.artifacts.is_dir():
                from mltrack.storage.runs.state import RunState
                from mltrack.storage.runs.unrecorded_files import found_files

                state = RunState(folder)
                state.update()
                self._recorder.emit(*found_files(folder, state.artifacts))
        except Exception as error:  # noqa: BLE001  # no end of a training fails for what others wrote
            say("run %s: files in its artifact folder are not recorded: %s", self.run_id, words_of(error))

    def _end_rich(self) -> None:
        """Close the journal of rich values, and make artifacts of what this run's journals hold."""
        journal = self._rich.pop(self._recorder.writer, None)
        try:
            if journal is None and not (self._recorder.folder.path / "series").is_dir():
                return
            from mltrack.journal.rich_series import SERIES_FOLDER
            from mltrack.storage.runs.series_artifacts import publish_series, unpublished_series

            if journal is not None:
                journal.move_to(self._recorder.folder.path / SERIES_FOLDER)
                journal.close()
                if journal.lost > 1:
                    self._recorder.lost_artifact(SERIES_FOLDER, OSError(f"{journal.lost:,} values were lost"))
            if journal is not None or unpublished_series(self._recorder.folder):  # of children that are gone
                publish_series(self._recorder)
        except Exception as error:  # noqa: BLE001  # a broken NumPy raises anything; the series are whole in their journal
            self._recorder.lost_artifact("series", error)

    @property
    def ended(self) -> bool:
        """Whether ``end`` was called."""
        return self._ended

    def _check_open(self) -> None:
        self._recorder.require_run()
        if self._ended:
            raise RunStateError(f"run {self.run_id} has ended", hint=f"resume it: start_run(run_id={self.run_id!r})")

    # --- reading what is there so far ---

    def stored(self) -> StoredRun:
        """The run as readers see it, up to the last call that returned."""
        from mltrack.storage.runs.stored_run import StoredRun

        return StoredRun(self._recorder.folder)

    @property
    def info(self) -> RunInfo:
        """Name, experiment, status and times, as stored; what this process knows of them where the disk fails."""
        info = stored_info(self._recorder.folder)
        if info is None and self.known_info is None:
            return self.stored().info
        return info or cast("RunInfo", self.known_info)

    @property
    def data(self) -> RunData:
        """Params, tags and latest metrics, as stored."""
        return self.stored().data

    def metrics(self, key: str | None = None) -> pa.Table:
        """The points logged so far; see StoredRun.metrics."""
        return self.stored().metrics(key)

    def get_metrics(self, name: str | None = None) -> dict[str, float | list[float]]:
        """The values logged so far, by metric; see StoredRun.get_metrics."""
        return self.stored().get_metrics(name)

    @property
    def lost(self) -> int:
        """Points that could not be stored by this process."""
        return self._recorder.lost


ActiveRun = Run
"""MLflow's name for it."""


def _clip(value: str) -> str:
    return repr(value if len(value) <= 40 else value[:37] + "...")


def source_name() -> str:
    """The script that records, as MLflow names it."""
    return sys.argv[0] if sys.argv and sys.argv[0] else "python"


def _arrive(key: str, root: str, store_id: str, run_id: str, name: str, params: dict[str, str], ended: bool) -> Run:
    """What pickle calls in the process where a copy of a run arrives."""

    def handle() -> Run:
        layout = Layout(Path(root), store_id)
        run = Run(layout, Recorder(layout, layout.run(run_id), "fork", joins=True), params=params, name=name, key=key)
        if ended:
            run._ended = True
            run._recorder.close()  # which has made nothing yet
        return run

    return arrive(Run, key, ended, handle)
