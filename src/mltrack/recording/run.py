"""The record API: a run that is being recorded by this process."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Any, SupportsFloat, SupportsIndex, cast

from mltrack.disk.layout import Layout
from mltrack.environment import ERROR_TAG
from mltrack.errors import InvalidMetricError, ParamConflictError, RunStateError, UsageError
from mltrack.journal.recorder import Recorder
from mltrack.process.ending import status_of
from mltrack.process.headroom import memory_shortage, need_numpy
from mltrack.process.trouble import say, words_of
from mltrack.recording.guarding import RunGuards
from mltrack.recording.known_info import stored_info
from mltrack.recording.rewinds import RunRewinds
from mltrack.recording.rich_log import RichLog, rich_values
from mltrack.recording.run_artifacts import RunFiles
from mltrack.recording.run_handles import arrive, keep
from mltrack.recording.run_links import RunInputs
from mltrack.recording.run_views import Attachment, RunViews
from mltrack.text.shown import shown
from mltrack.values.scalars import as_text, check_key, integer, plain_columns, require_mapping, time_from_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

    import pyarrow as pa

    from mltrack.disk.layout import RunFolder
    from mltrack.entities import RunData, RunInfo
    from mltrack.journal.points import PointJournal
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack.values.rich import RichValue

__all__ = ["ActiveRun", "Run"]

END_STATUSES = ("FINISHED", "FAILED", "KILLED")


class Run(RunFiles, RunInputs, RunRewinds, RunGuards, RunViews):
    """A run open for recording; ``mltrack.start_run`` makes one. It is a context manager that ends the run.

    Pickled and sent to another process, it arrives as a handle that joins the run and does not end it.

    Every method may be called from any thread. What was logged survives ``kill -9`` once the call has returned; power
    loss costs at most the last second. No call waits for another process or for a network, and none fails because of
    the disk: what can't be stored is counted, reported once and again at the end. Misuse raises at once.
    """

    def __init__(
        self,
        layout: Layout,
        recorder: Recorder,
        *,
        params: Mapping[str, str] | None = None,
        name: str = "",
        key: str | None = None,
        joins: bool = False,
    ) -> None:
        """Use ``mltrack.start_run``. ``joins``: another process records the run, too, and has started it."""
        self.run_id = recorder.folder.run_id
        self.name = name
        self._recorder = recorder
        self._params = dict(params or {})
        self._datasets: set[tuple[str, str]] = set()  # name and digest of those logged here
        self.is_new = recorder.role == "create"
        self._auto_step = 0 if self.is_new else None  # None: follows what the run holds, read when needed
        self._owner = os.getpid() if key is None else None
        self._keeps_error = not joins
        self._key = key or recorder.writer
        keep(self, self._key)
        self._ended = False
        self._attachments: list[Attachment] = []
        self._rich = RichLog(recorder)
        self.known_info: RunInfo | None = None  # as of its start here
        self.on_end: Callable[[Run], None] | None = None  # called when it ends, for whatever reason
        self.after_end: Callable[[Run, str], None] | None = None  # called when it has ended here, with its status

    def __repr__(self) -> str:
        return f"Run({self.run_id!r}, {self.name!r}{', ended' if self._ended else ''})"

    def __reduce__(self) -> tuple[Callable[..., Run], tuple[Any, ...]]:
        layout = self._recorder.layout
        return _arrive, (self._key, str(layout.root), layout.store_id, self.run_id, self.name, self._params, self.ended)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end(status_of(error), error)

    @property
    def folder(self) -> RunFolder:
        """The run's folder in its store."""
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

    def log_metric(
        self, key: str, value: SupportsFloat, step: SupportsIndex | None = None, *, timestamp: float | None = None
    ) -> None:
        """Log one point of a metric.

        Args:
            key: the metric's name, any non-empty text.
            value: anything ``float()`` takes, and arrays and tensors of one element; NaN and infinities included.
            step: a whole number of 64 bits, 0 when not given (MLflow's rule); in any order, repeats are kept.
            timestamp: ms since the epoch, whole or not; now when not given.

        Raises:
            InvalidMetricError: a key, value, step or timestamp is invalid; nothing was logged.
            RunStateError: the run has ended.
        """
        self._recorder.points.log(key, value, step, None if timestamp is None else time_from_ms(timestamp))

    def log_metrics(
        self, metrics: Mapping[str, SupportsFloat], step: SupportsIndex | None = None, *, timestamp: float | None = None
    ) -> None:
        """Log one point of each of several metrics, with the same step and time; all are checked before any is stored.

        Raises:
            InvalidMetricError, RunStateError: as log_metric.
        """
        self._recorder.points.log_many(metrics, step, None if timestamp is None else time_from_ms(timestamp))

    def log(self, metrics: Mapping[str, SupportsFloat | RichValue], step: SupportsIndex | None = None) -> None:
        """``log_metrics`` that counts steps: without ``step``, one more than in the last call of ``log``.

        A resumed run continues after its greatest step. Each process counts its own steps.

        Values may be plain numbers, and histograms, images, tables and texts (``mltrack.Histogram`` ...). When the run
        ends, histograms, tables and texts become artifacts as well, a table for each name below ``series/``.

        Raises:
            InvalidMetricError, RunStateError: as log_metric.
            UsageError: an image is invalid, or its name can't be a file's.
        """
        if step is None:
            number = self._next_step()
        else:
            number = step if type(step) is int else integer("step", step)
        try:
            self._recorder.points.log_many(metrics, number)  # type: ignore[arg-type]  # only numbers are accepted
        except InvalidMetricError:
            rich = rich_values(metrics)
            if not rich:
                raise
            self._check_open()
            self._rich.log(self, metrics, rich, number)
        self._auto_step = number + 1

    def _next_step(self) -> int:
        """The step of the next ``log``. A resumed run continues after its greatest step, which is read once."""
        if self._auto_step is None:
            self._check_open()
            self._auto_step = 0
            try:
                why = memory_shortage()
                if why is None:
                    from mltrack.storage.runs.step_counters import next_step

                    self._auto_step = next_step(self._recorder.folder)
            except Exception as error:  # noqa: BLE001  # a NumPy or Arrow that is broken raises anything
                why = words_of(error)
            if why is not None:
                say("run %s: steps are counted from 0: %s", self.run_id, why)
        return self._auto_step

    def log_series(self, name: str, values: Any, steps: Any = None, times: Any = None) -> None:
        """Log many points of one metric at once. On return they survive power loss.

        Args:
            name: the metric's name.
            values: n numbers: an array, a sequence, a pandas or Arrow column.
            steps: n integers; 0 to n-1 when not given.
            times: n times in ns since the epoch, or datetime64 values; now, for all, when not given.

        Raises:
            InvalidMetricError: values are not numbers, or columns differ in length; nothing was logged.
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
        say("run %s: log_series stores point by point: %s", self.run_id, words_of(error))
        for step, time, value in plain_columns(name, values, steps, times):
            self._recorder.points.log(name, value, step, time)
        self._recorder.sync()

    # --- params and tags ---

    def log_param(self, key: str, value: Any) -> Any:
        """Log a param, as text. The same value again is fine; returns ``value``.

        Raises:
            ParamConflictError: it already has another value: params can't change.
            UsageError: the key is not a non-empty text.
            RunStateError: the run has ended.
        """
        self.log_params({check_key(key, "param"): value})
        return value

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log several params; all are checked before any is stored.

        Raises:
            ParamConflictError, UsageError, RunStateError: as log_param.
        """
        self._check_open()
        require_mapping("params", params)
        new = {check_key(key, "param"): as_text(f"param {shown(key)}", value) for key, value in params.items()}
        for key, value in new.items():
            if self._params.get(key, value) != value:
                raise ParamConflictError(
                    f"param {key!r} is {_clip(self._params[key])} and can't become {_clip(value)}",
                    hint="log it under another name, or use a tag",
                )
        added = {key: value for key, value in new.items() if key not in self._params}
        self._recorder.emit(*({"type": "param", "key": key, "value": value} for key, value in added.items()))
        self._params |= added

    def set_tag(self, key: str, value: Any) -> None:
        """Set a tag, as text; the last value counts.

        Raises:
            UsageError: the key is not a non-empty text.
            RunStateError: the run has ended.
        """
        self.set_tags({check_key(key, "tag"): value})

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set several tags.

        Raises:
            UsageError, RunStateError: as set_tag.
        """
        self._check_open()
        require_mapping("tags", tags)
        texts = {check_key(key, "tag"): as_text(f"tag {shown(key)}", value) for key, value in tags.items()}
        self._recorder.emit(*({"type": "tag", "key": key, "value": value} for key, value in texts.items()))

    def delete_tag(self, key: str) -> None:
        """Remove a tag; it need not exist.

        Raises:
            RunStateError: the run has ended.
        """
        self._check_open()
        self._recorder.emit({"type": "tag", "key": check_key(key, "tag"), "value": None})

    # --- attachments ---

    def attach(self, attachment: Attachment) -> None:
        """Have ``attachment`` stopped when the run ends, while it can still record."""
        self._attachments.append(attachment)

    # --- the end ---

    def flush(self) -> None:
        """Return once all that was logged so far survives power loss."""
        self._recorder.sync()

    def end(self, status: str = "FINISHED") -> None:
        """End the run: all is made durable and long metrics are sealed to Parquet. Calling it again does nothing.

        In a forked child, and on a handle made by pickle, only this process's own part ends; the run continues.

        A run that fails while an exception is handled keeps its traceback as the tag ``mltrack.error``, without what
        looks like a secret, unless it was running already when this process joined it.

        Raises:
            UsageError: ``status`` is not FINISHED, FAILED or KILLED.
        """
        self._end(status, sys.exc_info()[1])

    def _end(self, status: str, error: BaseException | None) -> None:
        """The same, for a run that ``error`` has ended."""
        if status not in END_STATUSES:
            raise UsageError(
                f"{shown(status)} is not a status a run can end with", hint="one of " + ", ".join(END_STATUSES)
            )
        if self._ended:
            return
        while self._attachments:
            try:
                self._attachments.pop().stop()
            except Exception as trouble:  # noqa: BLE001  # the end of a training does not fail for what is attached to it
                say("run %s: %s", self.run_id, words_of(trouble))
        if error is not None and status != "FINISHED":
            self._keep_error(error)
        self._ended = True
        if self.known_info is not None:
            self.known_info = replace(self.known_info, status=status, end_time=time_ns() // 1_000_000, live=False)
        self._rich.end()
        if os.getpid() == self._owner:
            self._record_found_files()
        if self.on_end is not None:
            self.on_end(self)
        if os.getpid() == self._owner:
            self._recorder.close({"type": "end", "status": status, "end_time": time_ns()})
        else:
            self._recorder.close()
        if self.after_end is not None:
            self.after_end(self, status)

    def _keep_error(self, error: BaseException) -> None:
        """Keep what a run of this process failed with; one that it joined is another's, as is one of a launch."""
        if not self._keeps_error or os.getpid() != self._owner:
            return
        try:
            from mltrack.recording.run_error import traceback_text

            self._recorder.emit({"type": "tag", "key": ERROR_TAG, "value": traceback_text(error)})
        except Exception as problem:  # noqa: BLE001  # an exception's own methods may raise anything
            say("run %s: its error is not recorded: %s", self.run_id, words_of(problem))

    def detach(self, status: str = "SCHEDULED") -> None:
        """Close the run here without ending it, for another process to resume; it has ``status`` until then.

        Raises:
            RunStateError: the run has ended.
            UsageError: there is no such status.
        """
        if status not in (left := ("SCHEDULED", "RUNNING", *END_STATUSES)):
            raise UsageError(f"{status!r} is not a status", hint="one of " + ", ".join(left))
        self._check_open()
        self._ended = True
        if self.on_end is not None:
            self.on_end(self)
        self._recorder.close({"type": "status", "status": status})

    @property
    def ended(self) -> bool:
        """Whether ``end`` was called."""
        return self._ended

    def _check_open(self) -> None:
        self._recorder.require_run()
        if self._ended:
            raise RunStateError(f"run {self.run_id} has ended", hint=f"resume it: start_run(run_id={self.run_id!r})")

    # --- reading what was logged so far ---

    def stored(self) -> StoredRun:
        """The run as readers see it, up to the last call that returned."""
        from mltrack.storage.runs.stored_run import StoredRun

        return StoredRun(self._recorder.folder)

    @property
    def info(self) -> RunInfo:
        """Name, experiment, status and times, as stored; as this process knows them if the disk fails."""
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
    """The script that records, for MLflow's tag ``mlflow.source.name``."""
    return sys.argv[0] if sys.argv and sys.argv[0] else "python"


def _arrive(key: str, root: str, store_id: str, run_id: str, name: str, params: dict[str, str], ended: bool) -> Run:
    """Called by pickle in the process that receives a copy of a run."""

    def handle() -> Run:
        layout = Layout(Path(root), store_id)
        run = Run(layout, Recorder(layout, layout.run(run_id), "fork", joins=True), params=params, name=name, key=key)
        if ended:
            run._ended = True
            run._recorder.close()  # which has made nothing yet
        return run

    return arrive(Run, key, ended, handle)
