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
    run_lock,
    store_file,
    store_stream,
)
from mltrack.disk.filesystem import relative_name
from mltrack.environment import IMAGES_TAG
from mltrack.errors import BusyError, MltrackError, NotFoundError, UsageError
from mltrack.process.trouble import TROUBLE, say, words_of
from mltrack.text.shown import shown
from mltrack.values.arguments import path_argument
from mltrack.values.scalars import integer, texts_by_name, time_from_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import IO

    from mltrack.disk.artifact_files import StrPath
    from mltrack.disk.layout import RunFolder
    from mltrack.entities import ModelVersion
    from mltrack.journal.recorder import Recorder
    from mltrack.recording.folder_watch import FolderWatch
    from mltrack.storage.runs.stored_run import StoredRun

__all__ = ["RunFiles"]

TABLE_WAIT_S = 30.0
"""How long rows wait for those that others are adding to the same table; after that they are lost, and counted."""


class RunFiles:
    """The part of ``Run`` that is about files."""

    _recorder: Recorder
    _images_tagged = False

    if TYPE_CHECKING:  # what Run has
        run_id: str

        @property
        def folder(self) -> RunFolder:
            """The run's folder in its store."""

        @property
        def store_folder(self) -> Path:
            """The store's folder."""

        def attach(self, attachment: FolderWatch) -> None:
            """Have it stopped when the run ends."""

        def set_tag(self, key: str, value: Any) -> None:
            """Set a tag."""

        def stored(self) -> StoredRun:
            """The run as readers see it."""

        def _check_open(self) -> None: ...

    def log_artifact(self, local_path: StrPath, artifact_path: StrPath | None = None) -> None:
        """Copy a file, or a folder with all below it, into the run, under ``artifact_path`` where given.

        A store in the folder is skipped.

        Raises:
            NotFoundError: there is no such file.
            InvalidPathError: ``artifact_path`` would leave the artifact folder.
            RunStateError: the run has ended.
        """
        source = _path(local_path)
        if os.path.isdir(source):  # False also if the disk fails: storing it reports that
            base = _joined(artifact_path, source.resolve().name)
            self._store([(path, f"{base}/{name}") for path, name in self._below(source)])
        else:
            self._store([(source, _joined(artifact_path, source.name))])

    def log_artifacts(self, local_dir: StrPath, artifact_path: StrPath | None = None) -> None:
        """Copy everything in a folder into the run, under ``artifact_path`` where given.

        Raises:
            NotFoundError, InvalidPathError, RunStateError: as log_artifact.
        """
        folder = _path(local_dir)
        try:
            is_folder = stat.S_ISDIR(os.stat(folder).st_mode)
        except OSError as error:
            is_folder = False
            if error.errno not in CALLERS_FAULT:
                self._check_open()
                self._recorder.lost_artifact(str(folder), error)
                return
        if not is_folder:
            raise NotFoundError(f"{folder} is not a folder", hint="give a folder, or use log_artifact for a file")
        self._store([(path, _joined(artifact_path, name)) for path, name in self._below(folder)])

    def log_stream(self, stream: IO[bytes], artifact_file: StrPath) -> None:
        """Copy the rest of an open binary file (anything with ``read``) into the artifact ``artifact_file``.

        Raises:
            UsageError: the stream can't be read from.
            InvalidPathError, RunStateError: as log_artifact.
        """
        if not callable(getattr(stream, "read", None)):
            raise UsageError(f"stream is {shown(stream)}, which has no read()", hint="give a file opened with 'rb'")
        self._keep(artifact_file, lambda *place, **note: store_stream(stream, *place, **note))

    def adopt_artifact(self, path: Path, artifact_file: StrPath) -> None:
        """Make a finished file in the store the artifact ``artifact_file``, without copying it.

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
            UsageError: it can't be written in that format.
            InvalidPathError, RunStateError: as log_artifact.
        """
        from mltrack.values.media import dict_text

        name = self._checked(artifact_file)
        self._log_made(name, lambda: dict_text(dictionary, name).encode("utf-8", "surrogateescape"))

    def log_figure(self, figure: Any, artifact_file: StrPath, *, save_kwargs: Mapping[str, Any] | None = None) -> None:
        """Store a matplotlib or plotly figure, in the format that the suffix of ``artifact_file`` names.

        Raises:
            UsageError: it is not such a figure.
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

        Arrays hold bytes 0 to 255, booleans, or floats from 0 to 1; floats beyond are scaled to that, with a warning.
        ``mlflow.Image`` and ``mltrack.Image`` are accepted too. Either ``artifact_file`` names it, or ``key`` and
        ``step`` put it into a series, named as MLflow's UI expects.

        Args:
            image: what to store.
            artifact_file: the artifact's name; its suffix names the format.
            key: the name of the series.
            step: the image's step in the series, 0 when not given.
            timestamp: ms since the epoch; now when not given.

        Raises:
            UsageError: it is not an image, or neither or both names are given.
            InvalidPathError, RunStateError: as log_artifact.
        """
        from mltrack.values.media import image_bytes, image_name, thumbnail, thumbnail_name

        if artifact_file is not None and (step is not None or timestamp is not None):
            raise UsageError("step and timestamp need key, not artifact_file", hint="give a key")
        time_ms = time_ns() // 1_000_000 if timestamp is None else time_from_ms(timestamp) // 1_000_000
        file = None if artifact_file is None else self._checked(artifact_file)
        name = self._checked(image_name(file, key, None if step is None else integer("step", step), time_ms))
        data = self._log_made(name, lambda: image_bytes(image, name))
        if key is not None and data is not None:
            self._log_made(thumbnail_name(name), lambda: thumbnail(data, name)[0])
            self._tag_images()

    def log_table(self, data: Any, artifact_file: StrPath) -> None:
        """Store a table (a data frame, or a dict of columns) as .json in MLflow's layout, or as .parquet.

        Rows are appended to a table already logged under that name: those of all threads and processes that log to it
        are kept, so this call waits for others in progress. Images in a column are stored as files, as in MLflow.

        Raises:
            UsageError: it is not a table, or the name has another suffix.
            InvalidPathError, RunStateError: as log_artifact.
        """
        from mltrack.values.tables import as_frame, replace_images, table_bytes

        name = self._checked(artifact_file)
        try:
            root = self._recorder.require_folder().artifacts
            frame = replace_images(as_frame(data, name), name, lambda image, at: self.log_stream(io.BytesIO(image), at))
            with run_lock(root, "tables", timeout_s=TABLE_WAIT_S, strict=True):
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

    def watch(
        self, folder: str | os.PathLike[str], artifact_path: str | None = None, *, existing: bool = True
    ) -> FolderWatch:
        """Make the files of a folder artifacts as they settle, from another thread, until the run ends.

        Each content is copied once; a file that changes replaces its artifact. Temporary and hidden files are skipped,
        and links that lead out of the folder. The folder need not exist yet.

        Args:
            folder: the folder, with all below it.
            artifact_path: the artifact folder the files go to; the folder's own name when not given, "" for none.
            existing: also take the files that are in it already.

        Returns:
            The watch; its ``stop()`` takes what is in the folder then, and ends it before the run does.

        Raises:
            UsageError: the folder is in the store.
            InvalidPathError, RunStateError: as log_artifact.
        """
        from mltrack.recording.folder_watch import FolderWatch, Watched, check_folder

        self._check_open()
        path = Path(path_argument("folder", folder)).absolute()
        check_folder(path, self.store_folder)
        into = path.resolve().name if artifact_path is None else artifact_path
        watched = Watched(path, relative_name(into) if into else "")
        watch = FolderWatch(self, [watched], written_since_ns=None if existing else time_ns())
        self.attach(watch)
        return watch

    def register_model(
        self,
        model_name: str,
        model_path: str | None = None,
        *,
        tags: Mapping[str, Any] | None = None,
        description: str = "",
    ) -> ModelVersion:
        """Make what this run stored under ``model_path`` the next version of a registered model, offline.

        Args:
            model_name: the model, which is registered if it does not exist.
            model_path: an artifact or artifact folder of the run; all its artifacts when not given.
            tags: tags of the version, as text.
            description: a text for the version.

        Raises:
            NotFoundError: the run has no such artifact.
            UsageError: the name is not a model name.
            StoreError: the store can't be written.
        """
        from mltrack.storage.registry.registry import Registry

        text = texts_by_name("tags", tags)
        registry = Registry(self._recorder.layout, clock=time_ns)
        folder = self._recorder.folder
        return registry.create_version_of_run(model_name, folder, model_path, description=description, tags=text)

    def _tag_images(self) -> None:
        """Set the tag by which MLflow's UI knows that the run has images to show."""
        if not self._images_tagged:
            self._images_tagged = True
            self.set_tag(IMAGES_TAG, True)

    def _record_found_files(self) -> None:
        """Record files that the program itself wrote into the artifact folder."""
        try:
            folder = self._recorder.folder
            if folder.artifacts.is_dir():
                from mltrack.storage.runs.state import RunState
                from mltrack.storage.runs.unrecorded_files import found_files

                state = RunState(folder)
                state.update()
                self._recorder.emit(*found_files(folder, state.artifacts))
        except Exception as error:  # noqa: BLE001  # the end of a training does not fail for what others wrote
            say("run %s: files in its artifact folder are not recorded: %s", self.run_id, words_of(error))

    def _log_made(self, name: str, make: Callable[[], bytes]) -> bytes | None:
        """Store what ``make`` returns; None if memory or disk run out, which loses it."""
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
        """Copy files; all names are checked before the first file is copied."""
        for _, name in files:
            self._checked(name)
        for path, name in files:
            self._keep(name, lambda *place, path=path, **note: store_file(path, *place, **note))

    def _checked(self, artifact_file: StrPath) -> str:
        """An artifact's name in its normal form.

        Raises:
            InvalidPathError: an artifact can't have this name.
            RunStateError: the run has ended.
        """
        self._check_open()
        try:
            return check_place(self._recorder.folder.artifacts, artifact_file)
        except OSError:  # the disk will fail again, and be counted, when it is written to
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
        """Count an artifact that could not be stored completely; the first one is reported."""
        self._recorder.lost_artifact(name, error)


def _path(given: StrPath) -> Path:
    if given == "":  # Path takes it for the working folder
        raise UsageError("the path of what is to be logged is empty", hint="name a file or folder; '.' for this one")
    return Path(_text(given))


def _text(path: StrPath) -> str:
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str):
        raise UsageError(f"a path is text, not {type(path).__name__}", hint="name a file or folder")
    return text


def _joined(folder: StrPath | None, name: str) -> str:
    """The name of a file in an artifact folder; "" and None are the artifact folder itself."""
    inside = _text(folder) if folder is not None else ""
    return f"{inside.rstrip('/') or inside}/{name}" if inside else name
