"""wandb's Artifact: files under one name, of which each change is a version."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mltrack.disk.filesystem import safe_join
from mltrack.errors import NotFoundError
from mltrack.wandb.errors import UnsupportedError, UsageError
from mltrack.wandb.media_types import Image, Medium
from mltrack.wandb.refused import refuse
from mltrack.wandb.table_type import Table

__all__ = ["Artifact", "ArtifactEntry", "Version"]


@dataclass(frozen=True, slots=True)
class Version:
    """A version that is stored: its run, the folder among the run's files, its number, aliases, digest and texts."""

    run_id: str
    project: str
    type: str
    name: str
    number: int
    aliases: tuple[str, ...]
    digest: str
    folder: str
    description: str | None
    metadata: dict[str, Any]
    files: dict[str, Path]


@dataclass(frozen=True, slots=True)
class ArtifactEntry:
    """A file of an artifact: its name in it, where its content is, its size in bytes."""

    path: str
    source: Path
    size: int

    @property
    def name(self) -> str:
        """Its name."""
        return self.path

    def download(self, root: str | os.PathLike[str] | None = None, **_: Any) -> str:
        """Copy it to a folder; returns the path."""
        target = safe_join(Path(root) if root is not None else Path("artifacts"), self.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.source, target)
        return str(target)

    def local_path(self) -> str:
        """Where it is."""
        return str(self.source)


class Artifact:
    """Files under a name. Add files, then ``run.log_artifact``; or read those of ``run.use_artifact``."""

    def __init__(
        self,
        name: str,
        type: str,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        incremental: bool = False,
        use_as: str | None = None,
    ) -> None:
        """A new artifact.

        Args:
            name: letters, digits, ``-``, ``_`` and ``.``.
            type: what it is: dataset, model, ...
            description: a text.
            metadata: values in JSON's types.
            incremental: not here.
            use_as: has no effect.

        Raises:
            UsageError: the name or the type is not valid.
        """
        if incremental:
            raise UnsupportedError("mltrack.wandb's artifacts are not incremental", hint="log each version whole")
        for what, text in (("name", name), ("type", type)):
            if not text or "/" in text or ":" in text or text in (".", ".."):
                raise UsageError(f"{text!r} is not an artifact's {what}", hint="without / and :")
        self._name, self.type, self.description = name, type, description
        self.metadata = dict(metadata or {})
        self._files: dict[str, Path | bytes] = {}
        self._version: Version | None = None
        self._aliases: list[str] = []

    @classmethod
    def stored(cls, version: Version) -> Artifact:
        """One that is in the store."""
        made = cls(version.name, version.type, version.description, version.metadata)
        made._files = dict(version.files)
        made.set_version(version)
        return made

    def set_version(self, version: Version) -> None:
        """Make it the version that it was stored as."""
        self._version, self._aliases = version, list(version.aliases)

    def __repr__(self) -> str:
        return f"<Artifact {self.name}>"

    # --- what it is ---

    @property
    def name(self) -> str:
        """The name; of a stored one with its version, as ``net:v3``."""
        return self._name if self._version is None else f"{self._name}:{self.version}"

    @property
    def base_name(self) -> str:
        """The name alone."""
        return self._name

    source_name = name

    @property
    def version(self) -> str:
        """Its version, as ``v3``.

        Raises:
            UsageError: it is not stored.
        """
        return f"v{self.stored_version().number}"

    source_version = version

    @property
    def qualified_name(self) -> str:
        """Project, name and version."""
        return f"{self.stored_version().project}/{self.name}"

    @property
    def project(self) -> str:
        """The project of the run that logged it."""
        return self.stored_version().project

    @property
    def aliases(self) -> list[str]:
        """Other names of the version."""
        return list(self._aliases)

    @property
    def digest(self) -> str:
        """A SHA-256 of names and contents."""
        lines = [f"{name}\0{hashlib.sha256(self._read(name)).hexdigest()}\n" for name in sorted(self._files)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def id(self) -> str:
        """Run and folder of the stored version."""
        return f"{self.stored_version().run_id}/{self.stored_version().folder}"

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(len(one) if isinstance(one, bytes) else one.stat().st_size for one in self._files.values())

    @property
    def state(self) -> str:
        """PENDING, or COMMITTED when it is stored."""
        return "PENDING" if self._version is None else "COMMITTED"

    @property
    def file_count(self) -> int:
        """How many files it has."""
        return len(self._files)

    def is_draft(self) -> bool:
        """Whether it is not stored yet."""
        return self._version is None

    def wait(self, timeout: int | None = None) -> Artifact:
        """Return it: a version is stored when ``log_artifact`` returns."""
        return self

    def stored_version(self) -> Version:
        """What the store has of it.

        Raises:
            UsageError: it is not logged yet.
        """
        if self._version is None:
            raise UsageError(f"the artifact {self._name!r} is not logged yet", hint="run.log_artifact(artifact)")
        return self._version

    # --- adding files ---

    def add_file(self, local_path: str | os.PathLike[str], name: str | None = None, **_: Any) -> ArtifactEntry:
        """Add a file, under its own name unless another is given. It is copied when the artifact is logged.

        Raises:
            UsageError: there is no such file, or the artifact is stored already.
        """
        path = Path(local_path)
        if not path.is_file():
            raise UsageError(f"{path} is not a file", hint="add_dir adds a folder")
        return self._add(name or path.name, path.absolute())

    def add_dir(self, local_path: str | os.PathLike[str], name: str | None = None, **_: Any) -> None:
        """Add all files below a folder, under ``name`` where given.

        Raises:
            UsageError: it is not a folder, or the artifact is stored already.
        """
        folder = Path(local_path)
        if not folder.is_dir():
            raise UsageError(f"{folder} is not a folder", hint="add_file adds a file")
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                below = path.relative_to(folder).as_posix()
                self._add(f"{name}/{below}" if name else below, path.absolute())

    @contextmanager
    def new_file(self, name: str, mode: str = "x", encoding: str | None = None) -> Iterator[IO[Any]]:
        """A file to write into, which is added at the end of the block."""
        binary = io.BytesIO()
        file: IO[Any] = binary if "b" in mode else io.TextIOWrapper(binary, encoding or "utf-8", write_through=True)
        yield file
        file.flush()
        self._add(name, binary.getvalue())

    def add(self, obj: Any, name: str, **_: Any) -> ArtifactEntry:
        """Add a table, as ``name.table.json``, an image, or another medium.

        Raises:
            UsageError: it is something else, or the artifact is stored already.
        """
        if isinstance(obj, Table):
            table = obj.stored(self._add_cell)
            text = json.dumps({"columns": list(table.columns), "data": [list(row) for row in table.rows]})
            return self._add(f"{name}.table.json", text.encode())
        if isinstance(obj, Image):
            return self._add(f"{name}.png", obj.png())
        if isinstance(obj, Medium):
            file = obj.file()
            return self._add(f"{name}{file.suffix}", file.data)
        raise UsageError(f"{type(obj).__name__} can't be added to an artifact", hint="write a file, then add_file")

    def _add_cell(self, medium: Image | Medium) -> dict[str, Any]:
        data, suffix = (
            (medium.png(), ".png") if isinstance(medium, Image) else (medium.file().data, medium.file().suffix)
        )
        path = f"media/{hashlib.sha256(data).hexdigest()[:20]}{suffix}"
        self._add(path, data)
        return {"_type": "image-file" if isinstance(medium, Image) else medium.type_name, "path": path}

    def add_reference(self, uri: Any, name: str | None = None, **_: Any) -> list[ArtifactEntry]:
        """Add a file by a ``file://`` URI; what is not on this machine can't be added.

        Raises:
            UnsupportedError: it is another URI.
        """
        text = str(uri)
        if not text.startswith("file://"):
            raise UnsupportedError(
                f"mltrack.wandb's artifacts have no references ({text})", hint="log the URI in the metadata or a tag"
            )
        path = Path(text.removeprefix("file://"))
        if path.is_dir():
            self.add_dir(path, name)
            return self.entries
        return [self.add_file(path, name)]

    def remove(self, item: Any) -> None:
        """Take a file out, or a folder with all below it.

        Raises:
            FileNotFoundError: there is none.
        """
        name = item.path if isinstance(item, ArtifactEntry) else str(item)
        found = [one for one in self._files if one == name or one.startswith(f"{name}/")]
        if not found:
            raise FileNotFoundError(f"the artifact has no {name!r}")
        for one in found:
            del self._files[one]

    def _add(self, name: str, content: Path | bytes) -> ArtifactEntry:
        if self._version is not None:
            raise UsageError(f"the artifact {self.name!r} is stored and can't change", hint="make a new Artifact")
        self._files[name] = content
        return self._entry(name)

    # --- reading files ---

    def content(self) -> dict[str, Path | bytes]:
        """The files by name: paths or contents."""
        return dict(self._files)

    @property
    def entries(self) -> list[ArtifactEntry]:
        """The files."""
        return [self._entry(name) for name in self._files]

    def files(self, *_: Any, **__: Any) -> list[ArtifactEntry]:
        """The files."""
        return self.entries

    def _entry(self, name: str) -> ArtifactEntry:
        one = self._files[name]
        return ArtifactEntry(name, Path() if isinstance(one, bytes) else one, len(self._read(name)))

    def _read(self, name: str) -> bytes:
        one = self._files[name]
        return one if isinstance(one, bytes) else one.read_bytes()

    def get_entry(self, name: str | os.PathLike[str]) -> ArtifactEntry:
        """One file.

        Raises:
            NotFoundError: there is none of that name.
        """
        text = Path(name).as_posix()
        if text not in self._files:
            raise NotFoundError(f"artifact {self.name!r} has no file {text!r}", hint=f"it has {', '.join(self._files)}")
        return self._entry(text)

    get_path = get_entry

    def get(self, name: str) -> Any:
        """A table or an image that was added by that name; None if there is none."""
        if f"{name}.table.json" in self._files or (name in self._files and name.endswith(".table.json")):
            found = json.loads(self._read(name if name in self._files else f"{name}.table.json"))
            return Table(columns=found["columns"], data=found["data"])
        path = self._files.get(f"{name}.png")
        return Image(path) if isinstance(path, Path) else None

    def file(self, root: str | None = None) -> str:
        """Download the only file; returns its path.

        Raises:
            UsageError: there are several.
        """
        if len(self._files) != 1:
            raise UsageError(f"the artifact has {len(self._files)} files", hint="download() brings all")
        return str(Path(self.download(root), *self._files))

    def download(self, root: str | os.PathLike[str] | None = None, **_: Any) -> str:
        """Copy all files to a folder, by default ``artifacts/NAME:VERSION``; returns its path.

        Raises:
            UsageError: it is not stored yet.
        """
        folder = Path(root) if root is not None else Path("artifacts") / f"{self._name}:{self.version}"
        folder.mkdir(parents=True, exist_ok=True)
        for name in self._files:
            target = safe_join(folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self._read(name))
        return str(folder)

    checkout = download

    def verify(self, root: str | None = None) -> None:
        """Compare a downloaded folder with the artifact.

        Raises:
            ValueError: a file is missing or differs.
        """
        folder = Path(root) if root is not None else Path("artifacts") / f"{self._name}:{self.version}"
        for name in self._files:
            path = safe_join(folder, name)
            if not path.is_file() or path.read_bytes() != self._read(name):
                raise ValueError(f"{path} differs from the artifact")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise refuse(f"Artifact.{name}")
