"""Python's logging: a handler that writes records into a file of the run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TextIO

from mltrack.disk.filesystem import relative_name
from mltrack.recording.active import active_run

if TYPE_CHECKING:
    from mltrack.recording.run import Run

__all__ = ["RunHandler"]

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class RunHandler(logging.Handler):
    """Writes each record as a line into an artifact of the run, which can be read while the run goes on.

    A line is handed to the operating system at once, so it survives ``kill -9``. Without ``run`` it is the run that is
    active when the record comes; records while none is active are not kept.
    """

    def __init__(self, run: Run | None = None, *, artifact_file: str = "logs/python.log", level: int = 0) -> None:
        """``artifact_file`` is the file's path among the run's artifacts.

        Raises:
            InvalidPathError: it leads out of the run's artifacts.
        """
        super().__init__(level)
        self.setFormatter(logging.Formatter(FORMAT))
        self._run = run
        self._name = relative_name(artifact_file)
        self._file: TextIO | None = None
        self._of = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        run = self._run or active_run()
        if run is None or run.ended:
            return
        try:
            file = self._opened(run)
            file.write(self.format(record) + self.terminator)
            file.flush()
        except Exception:  # noqa: BLE001  # as every handler of the standard library: logging must not end the program
            self.handleError(record)

    terminator = "\n"

    def _opened(self, run: Run) -> TextIO:
        if self._file is None or self._of != run.run_id:
            self._release()
            path = run.folder.artifacts / self._name
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "a", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
            self._of = run.run_id
        return self._file

    def _release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def close(self) -> None:
        """Close the file; it stays with its run."""
        self.acquire()
        try:
            self._release()
        finally:
            self.release()
        super().close()
