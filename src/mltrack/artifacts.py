"""Lists, copies and loads the artifacts of runs and models in a store, as ``mlflow.artifacts`` does.

A place is given by ``runs:/<run_id>/path``, ``models:/<name>/<version>``, ``models:/<name>@<alias>``,
``models:/<model_id>``, or by a path or a ``file:`` or ``mltrack:`` URI such as that of ``get_artifact_uri``.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mltrack.disk.artifact_files import files_below, is_temporary
from mltrack.disk.filesystem import safe_join
from mltrack.disk.layout import is_model_id
from mltrack.disk.store_path import folder_of
from mltrack.errors import NotFoundError, UsageError
from mltrack.extras import need
from mltrack.recording.current_store import get_store
from mltrack.values.arguments import path_argument

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

    from mltrack.disk.artifact_files import StrPath
    from mltrack.store import Store

__all__ = ["FileInfo", "download_artifacts", "list_artifacts", "load_dict", "load_image", "load_text"]

MODEL_HOPS_MAX = 100
"""How long a chain of model versions made from one another may be."""


class FileInfo(NamedTuple):
    """An artifact file or folder: its path among the artifacts, and its size in bytes (None for a folder)."""

    path: str
    is_dir: bool
    file_size: int | None


class _Place(NamedTuple):
    """A folder of artifacts, and a path inside it ("" for all of it)."""

    root: Path
    inside: str

    @property
    def path(self) -> Path:
        """The path on disk.

        Raises:
            InvalidPathError, NotFoundError: it would leave the folder; it does not exist.
        """
        path = safe_join(self.root, self.inside) if self.inside else self.root
        if not path.exists() and self.inside:
            raise NotFoundError(
                f"no artifact {self.inside!r} in {self.root}", hint="see: mltrack.artifacts.list_artifacts"
            )
        return path


def list_artifacts(
    artifact_uri: StrPath | None = None,
    run_id: str | None = None,
    artifact_path: StrPath | None = None,
    tracking_uri: StrPath | None = None,
) -> list[FileInfo]:
    """The files and folders directly below a place, by name; empty for a file.

    Args:
        artifact_uri: the place.
        run_id: instead of a URI, a run.
        artifact_path: a path in the run's artifacts.
        tracking_uri: the store; the current one when not given.

    Raises:
        UsageError: neither or both of a URI and a run are given, or the URI is not that of artifacts.
        NotFoundError: there is no such run, model or artifact.
    """
    place = _place(artifact_uri, run_id, artifact_path, tracking_uri)
    folder = place.path
    if not folder.is_dir():
        return []
    found = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if not is_temporary(entry.name):
            name = f"{place.inside}/{entry.name}" if place.inside else entry.name
            found.append(FileInfo(name, entry.is_dir(), None if entry.is_dir() else entry.stat().st_size))
    return found


def download_artifacts(
    artifact_uri: StrPath | None = None,
    run_id: str | None = None,
    artifact_path: StrPath | None = None,
    dst_path: StrPath | None = None,
    tracking_uri: StrPath | None = None,
    registry_uri: StrPath | None = None,
) -> str:
    """The path of a file or folder, or of a copy of it in ``dst_path``.

    Args:
        artifact_uri: the place.
        run_id: instead of a URI, a run.
        artifact_path: a path in the run's artifacts.
        dst_path: a folder to copy to.
        tracking_uri: the store; the current one when not given.
        registry_uri: MLflow's, without effect.

    Raises:
        UsageError, NotFoundError: as list_artifacts.
        OSError: it can't be copied.
    """
    place = _place(artifact_uri, run_id, artifact_path, tracking_uri)
    source = place.path
    if dst_path is None:
        return str(source)
    target = Path(path_argument("dst_path", dst_path)).absolute()
    target.mkdir(parents=True, exist_ok=True)
    if place.inside:
        target /= source.name
    if source.is_dir():
        target.mkdir(exist_ok=True)
        for path, name in files_below(source):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / name)
    elif source.exists():
        shutil.copyfile(source, target)
    return str(target)


def load_text(artifact_uri: StrPath) -> str:
    """The content of a file, as UTF-8 text.

    Raises:
        UsageError, NotFoundError: as list_artifacts; or it is not UTF-8 text.
        OSError: it can't be read.
    """
    path = download_artifacts(artifact_uri)
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not text in UTF-8: {error.reason}", hint="use download_artifacts, and read the file"
        ) from None


def load_dict(artifact_uri: StrPath) -> Any:
    """The content of a JSON file.

    Raises:
        UsageError, NotFoundError, OSError: as load_text; or it is not JSON.
    """
    try:
        return json.loads(load_text(artifact_uri))
    except json.JSONDecodeError as error:
        raise UsageError(
            f"{os.fspath(artifact_uri)} is not JSON: {error}", hint="load_text returns it as text"
        ) from None


def load_image(artifact_uri: StrPath) -> PillowImage:
    """The content of an image file, as a PIL image.

    Raises:
        UsageError, NotFoundError: as list_artifacts; or it is not an image.
        OSError: it can't be read.
        MissingPackageError: Pillow is not installed.
    """
    need("PIL", "load_image")
    import PIL.Image

    path = download_artifacts(artifact_uri)
    try:
        with PIL.Image.open(path) as image:
            image.load()
            return image.copy()
    except PIL.UnidentifiedImageError:
        raise UsageError(f"{path} is not an image", hint="use download_artifacts, and read the file") from None


def _place(
    artifact_uri: StrPath | None, run_id: str | None, artifact_path: StrPath | None, tracking_uri: StrPath | None
) -> _Place:
    if (artifact_uri is None) == (run_id is None) or (artifact_uri is not None and artifact_path is not None):
        raise UsageError(
            "give artifact_uri, or run_id with or without artifact_path", hint="see: help(mltrack.artifacts)"
        )
    if tracking_uri is None:
        store = get_store()
    else:
        from mltrack.store import Store

        store = Store.open(folder_of(tracking_uri))
    if run_id is not None:
        inside = "" if artifact_path in (None, "") else path_argument("artifact_path", artifact_path)
        return _Place(store.run(run_id).folder.artifacts, inside)
    return _meant(store, path_argument("artifact_uri", artifact_uri), MODEL_HOPS_MAX)


def _meant(store: Store, uri: str, hops: int) -> _Place:
    scheme, colon, rest = uri.partition(":")
    if colon and scheme == "runs":
        run_id, _, path = rest.strip("/").partition("/")
        return _Place(store.run(run_id).folder.artifacts, path)
    if colon and scheme == "models":
        return _of_model(store, uri, rest.strip("/"), hops)
    file = (folder_of(uri, called="artifact_uri") if colon else Path(uri)).absolute()
    if not file.exists():
        raise NotFoundError(f"{file} does not exist", hint="name it by runs:/<run_id>/path")
    return _Place(file.parent, file.name)


def _of_model(store: Store, uri: str, rest: str, hops: int) -> _Place:
    name, _, path = rest.partition("/")
    if is_model_id(name):
        return _Place(store.logged_models.folder(name).artifacts, path)
    if "@" in name:
        version = store.registry.by_alias(*name.split("@", 1))
    else:
        number, _, path = path.partition("/")
        if not number.isdigit():
            raise UsageError(
                f"{uri!r} is not the URI of a model version", hint="use models:/<name>/<version> or @<alias>"
            )
        version = store.registry.get_version(name, number)
    if hops <= 0:
        raise UsageError(f"{uri!r} is made from itself", hint="name the files by runs:/<run_id>/path")
    source = _meant(store, version.source, hops - 1)
    return _Place(source.root, "/".join(part for part in (source.inside, path.rstrip("/")) if part))
