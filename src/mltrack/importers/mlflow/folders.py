"""The small files of MLflow's folders: ``meta.yaml``, and a text a file below ``params``, ``tags`` and the like."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mltrack.importers.mlflow.terms import as_text
from mltrack.importers.source import SourceError

if TYPE_CHECKING:
    from mltrack.importers.findings import Findings

__all__ = ["MlflowFolders", "read_yaml"]

META = "meta.yaml"
TEXT_BYTES_MAX = 64 << 20
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path) -> dict[str, Any]:
    """A file of YAML with fields.

    Raises:
        SourceError: it can't be read, or has none.
    """
    try:
        found = yaml.load(path.read_bytes(), _LOADER)
    except FileNotFoundError as error:
        raise SourceError(f"{path.name} is missing") from error
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise SourceError(f"{path.name} can't be read: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(found, dict):
        raise SourceError(f"{path.name} is torn: it has no fields")
    return found


class MlflowFolders:
    """Reads them, with names relative to the source in what is found wrong."""

    def __init__(self, root: Path, findings: Findings) -> None:
        self.root = root
        self.findings = findings

    def where(self, path: Path) -> str:
        """A path in messages."""
        return path.relative_to(self.root).as_posix()

    def below(self, folder: Path) -> list[Path]:
        """The folders in a folder that have a ``meta.yaml``, in order."""
        return [path for path in self.folders(folder) if (path / META).is_file()]

    def folders(self, folder: Path) -> list[Path]:
        """The folders in a folder, in order."""
        if self.leads_out(folder):
            return []
        try:
            found = sorted(Path(entry.path) for entry in os.scandir(folder) if entry.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self.findings.problem(self.where(folder), f"can't be read: {error.strerror}")
            return []
        return [path for path in found if not (path.is_symlink() and self.leads_out(path))]

    def leads_out(self, path: Path) -> bool:
        """Whether a link on the way to it leads out of the source, or ``..`` does."""
        return path.exists() and self.findings.is_outside(path)

    def meta(self, folder: Path) -> dict[str, Any] | None:
        """What ``meta.yaml`` of a folder says; None where it can't be read."""
        if self.leads_out(folder / META):
            return None
        try:
            return read_yaml(folder / META)
        except SourceError as error:
            self.findings.problem(self.where(folder), str(error))
            return None

    def texts(self, folder: Path) -> dict[str, str]:
        """The texts below a folder by key, where folders in it are parts of keys."""
        found: dict[str, str] = {}
        for path, key in self.files(folder):
            try:
                if path.stat().st_size > TEXT_BYTES_MAX:
                    raise SourceError(f"has more than {TEXT_BYTES_MAX:,} bytes")
                found[as_text(key)] = path.read_bytes().decode("utf-8")
            except (OSError, UnicodeDecodeError, SourceError) as error:
                words = error.strerror if isinstance(error, OSError) else str(error)
                self.findings.problem(self.where(path), f"can't be read: {words}")
        return found

    def files(self, folder: Path) -> Iterator[tuple[Path, str]]:
        """The files below a folder, and their names relative to it, in order."""
        if self.leads_out(folder):
            return
        for here, folders, names in os.walk(folder):
            folders.sort()
            for name in sorted(names):
                path = Path(here, name)
                if path.is_file() and not (path.is_symlink() and self.leads_out(path)):
                    yield path, path.relative_to(folder).as_posix()
