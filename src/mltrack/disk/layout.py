"""The layout of a store: where everything lies in it, how it is found, and its version."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mltrack.disk.codec import FORMAT_VERSION, BadLine, decode_line, encode_line
from mltrack.disk.filesystem import LOCAL, TEMPORARY, FileSystem, read_small
from mltrack.disk.found_store import words_on_mlflow
from mltrack.disk.line_types import STORE
from mltrack.disk.store_path import folder_of, working_folder
from mltrack.environment import MLTRACK_STORE
from mltrack.errors import InvalidPathError, NotFoundError, StoreError, StoreVersionError
from mltrack.text.shown import shown

__all__ = [
    "STORE_FOLDER",
    "Layout",
    "ModelFolder",
    "RunFolder",
    "TraceFolder",
    "find_store",
    "is_model_id",
    "is_run_id",
    "new_model_id",
    "new_run_id",
]

GIT_IGNORES_ALL = b"# a store of mltrack: git leaves it out\n*\n"
"""What a new store has as ``.gitignore``, as a virtual environment does."""

STORE_FOLDER = ".mltrack"
STORE_BYTES_MAX = 1 << 16

_RUN_ID = re.compile(r"[0-9a-f]{32}")
_MODEL_ID = re.compile(r"m-[0-9a-f]{32}")
_EXPERIMENT_ID = re.compile(r"[0-9]{1,32}")
_URL_CHARACTER = re.compile(r"[:/?#@]")
_REMOTE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def new_run_id() -> str:
    """32 random hex digits."""
    return os.urandom(16).hex()


def is_run_id(text: object) -> bool:
    """Whether ``text`` has the shape of a run id (which is also a safe folder name)."""
    return isinstance(text, str) and _RUN_ID.fullmatch(text) is not None


def new_model_id() -> str:
    """``m-`` and 32 random hex digits, as MLflow gives to logged models."""
    return f"m-{os.urandom(16).hex()}"


def is_model_id(text: object) -> bool:
    """Whether ``text`` has the shape of a logged model's id (which is also a safe folder name)."""
    return isinstance(text, str) and _MODEL_ID.fullmatch(text) is not None


def find_store(path: str | os.PathLike[str] | None = None, *, start: Path | None = None) -> Path:
    """The store's folder: ``path``, else ``$MLTRACK_STORE``, else the nearest .mltrack upward, else ./.mltrack.

    It need not exist yet. Both may be a path or a URI, see ``store_path``. Upward is from ``start``, else from the
    working folder.

    Raises:
        UsageError: the path or URI can't be a folder.
        StoreError: the working folder is gone.
    """
    if path is not None:
        return folder_of(path)
    if named := os.environ.get(MLTRACK_STORE):
        return folder_of(named, MLTRACK_STORE)
    here = working_folder() if start is None else start
    for folder in (here, *here.parents):
        if os.path.isfile(folder / STORE_FOLDER / "store.json"):  # also False where permission is missing
            return folder / STORE_FOLDER
    return here / STORE_FOLDER


class RunFolder:
    """The folder of one run and the names inside it."""

    __slots__ = ("artifacts", "events", "path", "points", "run_id", "segments")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run_id = path.name
        self.events = path / "events"
        self.points = path / "points"
        self.segments = path / "segments"
        self.artifacts = path / "artifacts"

    def make(self, fs: FileSystem) -> None:
        """Make the folders that every run has."""
        fs.require(self.path.parent)
        for folder in (self.events, self.points, self.segments):
            fs.make_folder(folder)


class ModelFolder:
    """The folder of one logged model and the names inside it."""

    __slots__ = ("artifacts", "log", "model_id", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model_id = path.name
        self.log = path / "model.jsonl"
        self.artifacts = path / "artifacts"


class TraceFolder:
    """The folder of one experiment's traces and the names inside it."""

    __slots__ = ("experiment_id", "facts", "path", "spans")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.experiment_id = path.name
        self.facts = path / "facts"
        self.spans = path / "spans"

    def files(self, trace_id: str) -> Path:
        """The folder of a trace's attachments, in the experiment's folder."""
        return self.path.parent.parent / "artifacts" / self.experiment_id / "traces" / trace_id / "artifacts"

    def make(self, fs: FileSystem) -> None:
        """Make the folders that writers need."""
        fs.require(self.path.parent.parent)
        for folder in (self.facts, self.spans):
            fs.make_folder(folder)


class Layout:
    """A store that exists, in a version known here."""

    __slots__ = ("changed", "models", "root", "runs", "store_id", "traces", "workspace")

    def __init__(self, root: Path, store_id: str) -> None:
        self.root = root
        self.store_id = store_id
        self.runs = root / "runs"
        self.models = root / "models"
        self.workspace = root / "workspace"
        self.changed = root / "changed"
        self.traces = root / "traces"

    def exists(self) -> bool:
        """Whether the store is still where it was opened."""
        return os.path.exists(self.root / "store.json")

    def gone(self) -> NotFoundError:
        """The error for a store that no longer exists."""
        return NotFoundError(
            f"the store {self.root} is gone: it was moved or removed while this process used it",
            hint="open it where it is now",
        )

    def moved_to(self, root: Path) -> Layout:
        """The same store at another place."""
        return Layout(root, self.store_id)

    def run(self, run_id: str) -> RunFolder:
        """The folder of a run, which may not exist.

        Raises:
            InvalidPathError: it is not a run id.
        """
        return RunFolder(self.run_path(run_id))

    def run_path(self, run_id: str) -> Path:
        """The path of a run's folder, which may not exist.

        Raises:
            InvalidPathError: it is not a run id.
        """
        if not is_run_id(run_id):
            raise InvalidPathError(f"{run_id!r} is not a run id", hint="a run id is 32 lower-case hex digits")
        return self.runs / run_id

    def model(self, model_id: str) -> ModelFolder:
        """The folder of a logged model, which may not exist.

        Raises:
            InvalidPathError: it is not a model id.
        """
        if not is_model_id(model_id):
            raise InvalidPathError(
                f"{shown(model_id)} is not a model id", hint="it is 'm-' and 32 lower-case hex digits"
            )
        return ModelFolder(self.models / model_id)

    def trace_folder(self, experiment_id: str) -> TraceFolder:
        """The folder of an experiment's traces, which may not exist.

        Raises:
            InvalidPathError: it is not an experiment id.
        """
        if not isinstance(experiment_id, str) or not _EXPERIMENT_ID.fullmatch(experiment_id):
            raise InvalidPathError(f"{shown(experiment_id)} is not an experiment id", hint="it has only digits")
        return TraceFolder(self.traces / experiment_id)

    def remote(self, name: str) -> Path:
        """The folder that keeps what a remote acknowledged.

        Raises:
            InvalidPathError: the name can't be a folder's.
        """
        if not _REMOTE_NAME.fullmatch(name):
            shown = "a URL" if _URL_CHARACTER.search(name) else repr(name)  # it may hold a password
            raise InvalidPathError(f"{shown} is not a remote name", hint="use letters, digits, '.', '_' and '-'")
        return self.root / "remotes" / name

    @classmethod
    def open(cls, root: Path) -> Layout:
        """The store in ``root``.

        Raises:
            NotFoundError: there is no store.
            StoreVersionError: a newer mltrack made it.
            StoreError: its store.json can't be read.
        """
        path = root / "store.json"
        try:
            line = read_small(path, STORE_BYTES_MAX)
        except (FileNotFoundError, NotADirectoryError):
            hint = "name one with --store or MLTRACK_STORE, or make one: mltrack init"
            left = words_on_mlflow(root)
            raise NotFoundError(f"no mltrack store at {root}", hint=f"{left}; or {hint}" if left else hint) from None
        except OSError as error:
            raise StoreError(f"{path} can't be read: {error.strerror}", hint="check its permissions") from error
        try:
            fields = decode_line(line.rstrip(b"\n"))
            version, fault = fields.get("format"), STORE.fault(fields)
            if fault is not None and not (type(version) is int and version > FORMAT_VERSION):
                raise BadLine(fault)
        except BadLine as error:
            raise StoreError(
                f"{path} is damaged: {error}", hint="the runs are not affected; restore this file from a copy"
            ) from error
        if version is not None and version > FORMAT_VERSION:
            raise StoreVersionError(
                f"{root} has store format {version}; this mltrack knows formats up to {FORMAT_VERSION}",
                hint="upgrade mltrack: pip install -U mltrack-local",
            )
        return cls(root, fields["store_id"])

    @classmethod
    def open_or_create(cls, root: Path, *, now_ns: int, fs: FileSystem = LOCAL) -> Layout:
        """The store in ``root``, made if it does not exist. Processes that make it at the same time agree on one.

        Raises:
            StoreError, StoreVersionError: as open, or the folder can't be made.
        """
        try:
            return cls.open(root)
        except NotFoundError:
            pass
        store_id = os.urandom(16).hex()
        line = encode_line({"format": FORMAT_VERSION, "store_id": store_id, "created": now_ns})
        layout = cls(root, store_id)
        try:
            fs.make_durable_folder(root)
            for folder in (layout.runs, layout.workspace, layout.changed):
                fs.make_folder(folder)
            _publish_once(root / ".gitignore", GIT_IGNORES_ALL, fs)
            _publish_once(root / "store.json", line, fs)
        except OSError as error:
            raise StoreError(
                f"no store can be made at {root}: {error.strerror}",
                hint="name another place with --store or MLTRACK_STORE",
            ) from error
        return cls.open(root)


def _publish_once(path: Path, data: bytes, fs: FileSystem) -> None:
    """Publish a file unless another process did so first."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}{TEMPORARY}")
    try:
        fd = fs.create(temporary)
        try:
            fs.write_all(fd, data)
            fs.sync(fd)
        finally:
            os.close(fd)
        try:
            fs.link(temporary, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            if not path.exists():
                fs.rename(temporary, path)
    finally:
        fs.unlink(temporary)
    fs.sync_folder(path.parent)
