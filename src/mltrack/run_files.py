"""What a run does with files: artifacts of every kind, stored whole in the run's folder."""

from __future__ import annotations

import io
import os
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Any

from mltrack.artifacts import Stored, adopt_file, files_below, store_file, store_stream
from mltrack.errors import MltrackError, NotFoundError
from mltrack.trouble import TROUBLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import IO

    from mltrack.entities import ModelVersion
    from mltrack.recorder import Recorder
    from mltrack.store.layout import Layout
    from mltrack.store.stored_run import StoredRun

__all__ = ["RunFiles"]


class RunFiles:
    """The part of ``Run`` that is about files."""

    _layout: Layout
    _recorder: Recorder

    if TYPE_CHECKING:  # what Run has

        def set_tag(self, key: str, value: Any) -> None:
            """Set a tag."""

        def stored(self) -> StoredRun:
            """The run as readers see it."""

        def _check_open(self) -> None: ...

        def _tag_images(self) -> None: ...

    def log_artifact(self, local_path: str | os.PathLike[str], artifact_path: str | None = None) -> None:
        """Copy a file, or a folder with all below it, into the run, under ``artifact_path`` where given.

        A store that lies in the folder is left out.

        Raises:
            NotFoundError: there is no such file.
            InvalidPathError: ``artifact_path`` would leave the artifact folder.
            RunStateError: the run has ended.
        """
        source = Path(local_path)
        if source.is_dir():
            base = _joined(artifact_path, source.resolve().name)
            self._store((path, f"{base}/{name}") for path, name in self._below(source))
        else:
            self._store([(source, _joined(artifact_path, source.name))])

    def log_artifacts(self, local_dir: str | os.PathLike[str], artifact_path: str | None = None) -> None:
        """Copy all that is in a folder into the run, under ``artifact_path`` where given.

        Raises:
            NotFoundError, InvalidPathError, RunStateError: as log_artifact.
        """
        folder = Path(local_dir)
        if not folder.is_dir():
            raise NotFoundError(f"{folder} is no folder", hint="give a folder, or use log_artifact for a file")
        self._store((path, _joined(artifact_path, name)) for path, name in self._below(folder))

    def log_stream(self, source: IO[bytes], artifact_file: str) -> None:
        """Copy what an open binary file still holds into the artifact ``artifact_file``.

        Raises:
            InvalidPathError, RunStateError: as log_artifact.
        """
        self._check_open()
        self._keep(artifact_file, lambda: store_stream(source, self._recorder.folder.artifacts, artifact_file))

    def adopt_artifact(self, path: Path, artifact_file: str) -> None:
        """Make a finished file that lies in the store the artifact ``artifact_file``, without copying it.

        Raises:
            InvalidPathError, RunStateError: as log_artifact.
        """
        self._check_open()
        self._keep(artifact_file, lambda: adopt_file(path, self._recorder.folder.artifacts, artifact_file))

    def log_text(self, text: str, artifact_file: str) -> None:
        """Store text, in UTF-8, as the artifact ``artifact_file``.

        Raises:
            InvalidPathError, RunStateError: as log_artifact.
        """
        self.log_stream(io.BytesIO(text.encode("utf-8", "surrogateescape")), artifact_file)

    def log_dict(self, dictionary: Any, artifact_file: str) -> None:
        """Store a JSON-like value as JSON, or as YAML where ``artifact_file`` ends in .yml or .yaml.

        Raises:
            UsageError: it can't be written so.
            InvalidPathError, RunStateError: as log_artifact.
        """
        from mltrack.media import dict_text

        self._log_made(artifact_file, lambda: dict_text(dictionary, artifact_file).encode("utf-8", "surrogateescape"))

    def log_figure(self, figure: Any, artifact_file: str, *, save_kwargs: Mapping[str, Any] | None = None) -> None:
        """Store a matplotlib or plotly figure; the end of ``artifact_file`` says in which format.

        Raises:
            UsageError: it is no such figure.
            InvalidPathError, RunStateError: as log_artifact.
        """
        from mltrack.media import figure_bytes

        self._log_made(artifact_file, lambda: figure_bytes(figure, artifact_file, save_kwargs or {}))

    def log_image(
        self,
        image: Any,
        artifact_file: str | None = None,
        *,
        key: str | None = None,
        step: int | None = None,
        timestamp: int | None = None,
    ) -> None:
        """Store an image: a PIL image, or an array of (height, width) or (height, width, 1, 3 or 4 channels).

        Arrays hold bytes 0 to 255, booleans, or floats from 0 to 1. Either ``artifact_file`` names it, or ``key`` and
        ``step`` put it into a series, named as MLflow's UI expects.

        Raises:
            UsageError: it is no image, or neither or both names are given.
            InvalidPathError, RunStateError: as log_artifact.
        """
        from mltrack.media import image_bytes, image_name, thumbnail, thumbnail_name

        name = image_name(artifact_file, key, step, timestamp if timestamp is not None else time_ns() // 1_000_000)
        data = self._log_made(name, lambda: image_bytes(image, name))
        if key is not None and data is not None:
            self._log_made(thumbnail_name(name), lambda: thumbnail(data, name)[0])
            self._tag_images()

    def log_table(self, data: Any, artifact_file: str) -> None:
        """Store a table (a data frame, or a dict of columns) as .json in MLflow's layout, or as .parquet.

        A table already logged under that name is added to.

        Raises:
            UsageError: it is no table, or the name ends otherwise.
            InvalidPathError, RunStateError: as log_artifact.
        """
        from mltrack.media import TABLES_TAG, table_bytes, tables_tag

        held = self._recorder.folder.artifacts / artifact_file
        self.log_stream(io.BytesIO(table_bytes(data, artifact_file, held if held.is_file() else None)), artifact_file)
        tagged = self.stored().tags.get(TABLES_TAG)
        tag = tables_tag(tagged, [artifact_file])
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
        from mltrack.store.registry import Registry

        text = {key: str(value) for key, value in (tags or {}).items()}
        registry = Registry(self._layout, clock=time_ns)
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
        return files_below(folder, self._layout.root, self._recorder.folder.artifacts)

    def _store(self, files: Iterable[tuple[Path, str]]) -> None:
        self._check_open()
        for path, name in files:
            self._keep(name, lambda path=path, name=name: store_file(path, self._recorder.folder.artifacts, name))

    def _keep(self, name: str, store: Any) -> None:
        try:
            stored: Stored = store()
        except MltrackError:
            raise
        except TROUBLE as error:
            self._recorder.lost_artifact(name, error)
            return
        self._recorder.emit({"type": "artifact", "path": stored.path, "size": stored.size, "sha256": stored.sha256})

    def lose_artifact(self, name: str, error: Exception) -> None:
        """Note that an artifact, or some of it, could not be stored. It is said once, and counted."""
        self._recorder.lost_artifact(name, error)


def _joined(folder: str | None, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}" if folder else name
