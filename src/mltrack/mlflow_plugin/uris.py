"""URIs of the scheme ``mltrack``: the store they mean, and the place in it.

Two kinds: of a store (``mltrack:`` the default one, ``mltrack:relative/.mltrack``, ``mltrack:///absolute/.mltrack``),
and of artifacts in it (``mltrack:///absolute/.mltrack/runs/<run_id>/artifacts``). The second is computed each time it
is needed and never stored, so that it is correct wherever the store has been moved to.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlsplit

from mltrack.disk.layout import Layout, find_store
from mltrack.disk.store_path import SCHEME, path_of_uri, uri_of
from mltrack.errors import StoreError, UsageError
from mltrack.store import Store

if TYPE_CHECKING:
    from pathlib import PurePath

__all__ = [
    "SERVED_SCHEME",
    "URI_CHARACTERS",
    "ArtifactPlace",
    "artifact_place",
    "artifact_uri",
    "is_enclosing",
    "local_uri",
    "open_store",
    "store_folder",
    "store_uri",
]

SERVED_SCHEME = "mlflow-artifacts"

# set by `mlflow server` for its workers: --artifacts-destination, and whether to serve it
_DESTINATION = "_MLFLOW_SERVER_ARTIFACT_DESTINATION"
_SERVING = "_MLFLOW_SERVER_SERVE_ARTIFACTS"
_IN_SERVER = "_MLFLOW_SERVER_FILE_STORE"  # set in every process of a server

URI_CHARACTERS = frozenset("%#?")
"""Characters that have another meaning if a path is read as a URI."""

_PLACE = re.compile(
    r"(?P<root>/.*?)/(?:runs/(?P<run_id>[0-9a-f]{32})|models/(?P<model_id>m-[0-9a-f]{32}))/artifacts(?P<path>(?:/.*)?)",
    re.DOTALL,
)
_EXPERIMENTS_PLACE = re.compile(r"(?P<root>/.*)/artifacts/(?P<experiment_id>[0-9]+)(?P<path>(?:/.*)?)", re.DOTALL)


_opened: dict[Path, Layout] = {}  # by this process


class ArtifactPlace(NamedTuple):
    """The meaning of an artifact URI: a store, one of its runs, logged models or experiments, and a path inside that.

    The ids of the other two are "". An experiment's files are those of its traces.
    """

    root: Path
    run_id: str
    model_id: str
    path: str
    experiment_id: str = ""


def store_folder(uri: str) -> Path:
    """The folder of the store that ``uri`` means; it need not exist.

    Raises:
        UsageError: it is not the URI of a store.
    """
    path = _path(uri)
    return find_store(Path(path)) if path else find_store()


def open_store(uri: str) -> Store:
    """The store that ``uri`` means; created if it does not exist, but not again, as it may have been moved.

    One that the URI names is created only in a folder that exists, as SQLite creates a database: a path with another
    folder is mistyped, or on a disk that is not mounted.

    Raises:
        UsageError: it is not the URI of a store.
        NotFoundError: this process has opened it before, and it does not exist any more.
        StoreError: the store can't be created or read.
    """
    root = store_folder(uri)
    if root in _opened and not _opened[root].exists():
        raise _opened[root].gone()
    if _path(uri) and not root.parent.exists():
        raise StoreError(
            f"no store can be made at {root}: there is no folder {root.parent}",
            hint=f"correct the URI {uri}, or create that folder first",
        )
    layout = _opened[root] = Layout.open_or_create(root, now_ns=time.time_ns())
    return Store(layout)


def store_uri(folder: PurePath) -> str:
    """The URI of the store in a folder, given its absolute path."""
    return uri_of(folder)


def artifact_uri(folder: PurePath) -> str:
    """The URI of an artifact folder in a store, by its absolute path.

    In a server that serves the files it is the URI for clients; in any other server the store's own, as clients may be
    on other machines. In a program that uses the store directly it is the plain path, as in MLflow's local stores:
    scripts list it and write to it. A path with special characters of URIs is given as the store's own URI too.
    """
    served = _served_root()
    if served is not None and folder.is_relative_to(served):
        return f"{SERVED_SCHEME}:/{quote(os.fsencode(folder.relative_to(served)))}"
    if _IN_SERVER in os.environ or not URI_CHARACTERS.isdisjoint(str(folder)):
        return store_uri(folder)
    return str(folder)


def local_uri(uri: str) -> str:
    """The store's own URI for a path, or for the URI of a client of this server; any other unchanged."""
    served = _served_root()
    if uri.startswith(("/", "file:")):
        path = path_of_uri(uri) if uri.startswith("file:") else uri
        return uri if path is None else store_uri(Path(path))
    parts = urlsplit(uri)
    if served is None or parts.scheme != SERVED_SCHEME:
        return uri
    return f"{store_uri(served)}/{parts.path.lstrip('/')}"


def _served_root() -> Path | None:
    """The store whose files this process's MLflow server serves to its clients; None if there is none."""
    destination = os.environ.get(_DESTINATION, "")
    if not destination.startswith(f"{SCHEME}:") or os.environ.get(_SERVING) != "true":
        return None
    return store_folder(destination).absolute()


def artifact_place(uri: str) -> ArtifactPlace:
    """The meaning of an artifact URI.

    Raises:
        UsageError: it is not an artifact URI.
    """
    path = _path(uri)
    match = _PLACE.fullmatch(path)
    if match is None:
        of_experiment = _EXPERIMENTS_PLACE.fullmatch(path)
        if of_experiment is not None:
            inside = of_experiment["path"].strip("/")
            return ArtifactPlace(Path(of_experiment["root"]), "", "", inside, of_experiment["experiment_id"])
        raise UsageError(f"{uri!r} is not an artifact URI", hint="give mltrack:///store/runs/<run_id>/artifacts")
    return ArtifactPlace(Path(match["root"]), match["run_id"] or "", match["model_id"] or "", match["path"].strip("/"))


def is_enclosing(uri: str) -> bool:
    """Whether a URI is of an absolute folder that is not an artifact folder, but may contain some."""
    try:
        path = _path(uri)
    except UsageError:
        return False
    return path.startswith("/") and not (_PLACE.fullmatch(path) or _EXPERIMENTS_PLACE.fullmatch(path))


def _path(uri: str) -> str:
    path = path_of_uri(uri) if uri.partition(":")[0].lower() == SCHEME else None
    if path is None or any(ord(sign) < 32 for sign in path):
        raise UsageError(
            f"{uri!r} is not a URI of an mltrack store",
            hint="write mltrack:, mltrack:folder or mltrack:///absolute/folder; ? and # in it as %3F and %23",
        )
    return path
