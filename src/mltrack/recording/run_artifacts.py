"""What a run does with files: artifacts of every kind, stored whole in the run's folder."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Any

from mltrack.disk.artifact_files import (
    CALLERS_FAULT,
    Stored,
    adopt_file,
    check_place,
    files_below,
    lock_of_run,
    store_file,
    store_stream,
)
from mltrack.errors import BusyError, MltrackError, NotFoundError, UsageError
from mltrack.process.trouble import TROUBLE
from mltrack.values.scalars import integer, time_from_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import IO

    from mltrack.disk.artifact_files import StrPath
    from mltrack.entities import ModelVersion
    from mltrack.journal.recorder import Recorder
    from mltrack.storage.runs.stored_run import StoredRun

__all__ = ["RunFiles"]

TABLE_WAIT_S = 30.0
"""How long rows wait for those that others are just adding to a table of the run; then they are lost, and counted."""


class RunFiles:
    """The part of ``Run`` that is about files."""

    _recorder: Recorder

    if TYPE_CHECKING:  # what Run has

        def set_tag(self, key: str, value: Any) -> None:
            """Set a tag."""

        def stored(self) -> StoredRun:
            """The run as readers see it."""

        def _check_open(self) -> None: ...

        def _tag_images(self) -> None: ...

    def log_artifact(self, local_path: StrPath, artifact_path: StrPath | None = None) -> None:
        """Copy a file, or a folder with all below it, into the run, under ``artifact_path`` where given.

        A store that lies in the folder is left out.

        Raises:
            NotFoundError: there is no such file.
            InvalidPathError: ``artifact_path`` would leave the artifact folder.
            RunStateError: the run has ended.
        """
        source = Path(local_path)
        if os.path.isdir(source):  # False, too, where the disk fails: storing it tells
            base = _joined(artifact_path, source.resolve().name)
            self._store([(path, f"{base}/{name}") for path, name in self._below(source)])
        else:
            self._store([(source, _joined(artifact_path, source.name))])

    def log_artifacts(self, local_dir: StrPath, artifact_path: StrPath | None = None) -> None:
        """Copy all that is in a folder into the run, under ``artifact_path`` where given.

        Raises:
            NotFoundError, InvalidPathError, RunStateError: as log_artifact.
        """
        folder = Path(local_dir)
        try:
            there = stat.S_ISDIR(os.stat(folder).st_mode)
        except OSError as error:
            there = False
            if error.errno not in CALLERS_FAULT:
                self._check_open()
                self._recorder.lost_artifact(str(folder), error)
                return
        if not there:
            raise NotFoundError(f"{folder} is no folder", hint="give a folder, or use log_artifact for a file")
        self._store([(path, _joined(artifact_path, name)) for path, name in self._below(folder)])

    def log_stream(self, stream: IO[bytes], artifact_file: StrPath) -> None:
        """Copy what an open binary file (anything with ``read``) still holds into the artifact ``artifact_file``.

        Raises:
            InvalidPathError, RunStateError: as log_artifact.
        """
        self._keep(artifact_file, lambda *place, **note: store_stream(stream, *place, **note))

    def adopt_artifact(self, path: Path, artifact_file: StrPath) -> None:
        """Make a finished file that lies in the store the artifact ``artifact_file``, without copying it.

        Raises:
            InvalidPathError, RunStateError: as log_artifact.
        """
        self._keep(artifact_file, lambda *place, **note: adopt_file(path, *place, **note))

    def log_text(self, text: str, artifact_file: StrPath) -> None:
        """Store text, in UTF-8, as the artifact ``artifact_file``.

        Raises:
            UsageError: it is not text.
            InvalidPathError, RunStateError: as log_artifact.
        """
        if not isinstance(text, str):
            raise UsageError(f"{type(text).__name__} is not text", hint="give a str, or use log_stream for bytes")
        try:
            data = text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise UsageError(f"{os.fspath(artifact_file)}: {error.reason}", hint="give text that is Unicode") from None
        self.log_stream(io.BytesIO(data), artifact_file)

    def log_dict(self, dictionary: Any, artifact_file: StrPath) -> None:
        """Store a JSON-like value as JSON, or as YAML where ``artifact_file`` ends in .yml or .yaml.

        Raises:
            UsageError: it can't be written so.
            InvalidPathError, RunStateError: as log_artifact.
        """
        from mltrack.values.media import dict_text

        name = self._checked(artifact_file)
        self._log_made(name, lambda: dict_text(dictionary, name).encode("utf-8", "surrogateescape"))

    def log_figure(self, figure: Any, artifact_file: StrPath, *, save_kwargs: Mapping[str, Any] | None = None) -> None:
        """Store a matplotlib or plotly figure; the end of ``artifact_file`` says in which format.

        Raises:
            UsageError: it is no such figure.
            InvalidPathError, RunStateError: as log_artifact.
        """
        from mltrack.values.media import figure_bytes

        name = self._checked(artifact_file)
        self._log_made(name, lambda: figure_bytes(figure, name, save_kwargs or {}))

    def log_image(
        self,
        image: Any,
        artifact_file: StrPath | None = None,
        *,
        key: str | None = None,
        step: int | None = None,
        timestamp: int | None = None,
    ) -> None:
        """Store an image: a PIL image, or an array of (height, width) or (height, width, 1, 3 or 4 channels).

        Arrays hold bytes 0 to 255, booleans, or floats from 0 to 1; floats beyond are scaled to that, and it is said.
        ``mlflow.Image`` and ``mltrack.Image`` are taken too. Either ``artifact_file`` names it, or ``key`` and
        ``step`` put it into a series, named as MLflow's UI expects.

        Raises:
            UsageError: it is no image, or neither or both names are given.
            InvalidPathError, RunStateError: as log_artifact.
        """
        from mltrack.values.media import image_bytes, image_name, thumbnail, thumbnail_name

        if artifact_file is not None and (step is not None or timestamp is not None):
            raise UsageError("step and timestamp go with a key, not with artifact_file", hint="give a key")
        time_ms = time_ns() // 1_000_000 if timestamp is None else time_from_ms(timestamp) // 1_000_000
        file = None if artifact_file is None else self._checked(artifact_file)
        name = self._checked(image_name(file, key, None if step is None else integer("step", step), time_ms))
        data = self._log_made(name, lambda: image_bytes(image, name))
        if key is not None and data is not None:
            self._log_made(thumbnail_name(name), lambda: thumbnail(data, name)[0])
            self._tag_images()

    def log_table(self, data: Any, artifact_file: StrPath) -> None:
        """Store a table (a data frame, or a dict of columns) as .json in MLflow's layout, or as .parquet.

        A table already logged under that name is added to: the rows of all threads and processes that log to it are
        kept, for which this call waits for those under way. A column of images has them stored apart, as in MLflow.

        Raises:
            UsageError: it is no table, or the name ends otherwise.
            InvalidPathError, RunStateError: as log_artifact.
        """
        from mltrack.values.tables import as_frame, replace_images, table_bytes

        name = self._checked(artifact_file)
        try:
            root = self._recorder.require_folder().artifacts
            frame = replace_images(as_frame(data, name), name, lambda image, at: self.log_stream(io.BytesIO(image), at))
            with lock_of_run(root, "tables", timeout_s=TABLE_WAIT_S, strict=True):
                held = root / name
                self.log_stream(io.BytesIO(table_bytes(frame, name, held if held.is_file() else None)), name)
                self._tag_tables([name])
        except MltrackError as error:
            if not isinstance(error, BusyError):
                raise
            self._recorder.lost_artifact(name, error)
        except TROUBLE as error:
            self._recorder.lost_artifact(name, error)

    def _tag_tables(self, names: Iterable[str]) -> None:
        """By this tag MLflow's UI finds tables. The lock of tables is held."""
        from mltrack.storage.runs.state import RunState  # a stored run would import NumPy
        from mltrack.values.media import TABLES_TAG, tables_tag

        state = RunState(self._recorder.folder)
        state.update()
        tagged = state.tags.get(TABLES_TAG)
        tag = tables_tag(tagged, names)
        if tag != tagged:
            self.set_tag(TABLES_TAG, tag)

    def register_model(
        self,
        model_name: str,
        model_path: str | None = None,
        *,
        tags: Mapping[str, Any] | None = None,
        description: str = "",
    ) -> ModelVersion:
        """Make what this run stored under ``model_path`` the next version of a registered model, offline.

        The model is registered where there is none of that name; without ``model_path`` all artifacts of the run count.

        Raises:
            NotFoundError: the run has no such artifact.
            UsageError: the name is no model name.
            StoreError: the store can't be written.
        """
        from mltrack.storage.registry.registry import Registry

        text = {key: str(value) for key, value in (tags or {}).items()}
        registry = Registry(self._recorder.layout, clock=time_ns)
        folder = self._recorder.folder
        return registry.create_version_of_run(model_name, folder, model_path, description=description, tags=text)

    def _log_made(self, name: str, make: Callable[[], bytes]) -> bytes | None:
        """Store what ``make`` returns; None where the machine has no room to make it, which loses the artifact."""
        self._check_open()
        try:
            data = make()
        except MltrackError:
            raise
        except TROUBLE as error:
            self._recorder.lost_artifact(name, error)
            return None
        self.log_stream(io.BytesIO(data), name)
        return data

    def _below(self, folder: Path) -> Iterable[tuple[Path, str]]:
        def lose(error: OSError) -> None:
            self._recorder.lost_artifact(os.fspath(error.filename or folder), error)

        return files_below(folder, self._recorder.layout.root, self._recorder.folder.artifacts, on_error=lose)

    def _store(self, files: Sequence[tuple[Path, str]]) -> None:
        """Copy files; all names are checked before the first one is."""
        for _, name in files:
            self._checked(name)
        for path, name in files:
            self._keep(name, lambda *place, path=path, **note: store_file(path, *place, **note))

    def _checked(self, artifact_file: StrPath) -> str:
        """A name as a clean text.

        Raises:
            InvalidPathError, RunStateError: no artifact can have it; the run has ended.
        """
        self._check_open()
        try:
            return check_place(self._recorder.folder.artifacts, artifact_file)
        except OSError:  # what the disk says is found out again, and counted, when it is written to
            return os.fspath(artifact_file)

    def _keep(self, artifact_file: StrPath, store: Callable[..., Stored]) -> None:
        self._check_open()
        self._recorder.sync_start()
        try:
            store(self._recorder.require_folder().artifacts, artifact_file, note=self._note, fs=self._recorder.fs)
        except MltrackError:
            raise
        except TROUBLE as error:
            self._recorder.lost_artifact(os.fspath(artifact_file), error)

    def _note(self, stored: Stored) -> None:
        self._recorder.emit({"type": "artifact", "path": stored.path, "size": stored.size, "sha256": stored.sha256})

    def lose_artifact(self, name: str, error: Exception) -> None:
        """Note that an artifact, or some of it, could not be stored. It is said once, and counted."""
        self._recorder.lost_artifact(name, error)


def _joined(folder: StrPath | None, name: str) -> str:
    """The name of a file in an artifact folder; "" and None are the artifact folder itself."""
    inside = os.fspath(folder) if folder is not None else ""
    return f"{inside.rstrip('/') or inside}/{name}" if inside else name
