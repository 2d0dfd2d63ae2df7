"""One run of aim's: its tree of facts, read at once, and its sequences, read when they are asked for."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from mltrack.environment import SOURCE_NAME_TAG
from mltrack.importers.aim.encoding import BLOB, TypedObject, decode_path, decode_value, encode_path, fold
from mltrack.importers.aim.numbers import numbers_of
from mltrack.importers.aim.objects import LOG_LINE, LOG_RECORD, file_of, line_of, objects_of, value_of
from mltrack.importers.aim.rocks import RocksFolder
from mltrack.importers.aim.sequences import Sequence, count_with_epochs, sequences_of
from mltrack.importers.batches import make_batch
from mltrack.importers.json_fields import params_of
from mltrack.importers.source import SourceError, SourceFile, SourceValue

if TYPE_CHECKING:
    import pyarrow as pa

    from mltrack.importers.findings import Findings

__all__ = ["AimRun"]

SYSTEM_PARAMS = "__system_params"
OBJECTS = {"aim.text", "aim.image", "aim.distribution", "aim.audio", "aim.figure", LOG_LINE, LOG_RECORD}
CONSOLE, MESSAGES = "output.log", "messages.log"


@dataclass(slots=True)
class AimRun:
    """It. ``folder`` is the repository's ``.aim``."""

    folder: Path
    run: str
    findings: Findings
    tree: dict[str, Any] = field(default_factory=dict)
    sequences: list[Sequence] = field(default_factory=list)

    @property
    def where(self) -> str:
        """What it is called in messages."""
        return f"run {self.run}"

    def scan(self) -> None:
        """Read its facts.

        Raises:
            SourceError: they can't be read.
        """
        prefix = encode_path("meta", "chunks", self.run)
        with self._open("meta") as rocks:
            try:
                leaves = ((decode_path(key[len(prefix) :]), decode_value(value)) for key, value in rocks.scan(prefix))
                tree = fold((path, value) for path, value in leaves if value is not BLOB)
            except ValueError as error:
                raise SourceError(f"{rocks.where}: {error}") from error
        self.tree = tree if isinstance(tree, dict) else {}
        self.sequences = sequences_of(self.run, self._part("traces"), self._part("contexts"))

    @contextmanager
    def _open(self, part: str) -> Iterator[RocksFolder]:
        path = self.folder / part / "chunks" / self.run
        rocks = RocksFolder(path, f"{part}/chunks/{self.run}")
        try:
            yield rocks
        finally:
            rocks.close()

    def _part(self, name: str) -> dict[Any, Any]:
        found = self.tree.get(name)
        return found if isinstance(found, dict) else {}

    # --- facts ---

    @property
    def params(self) -> dict[str, str]:
        """What the run was given, nested keys joined by dots."""
        given = {str(key): value for key, value in self._part("attrs").items() if key != SYSTEM_PARAMS}
        return params_of({key: _plain(value) for key, value in given.items()})

    @property
    def end_time(self) -> int:
        """When it was closed, in ns; 0 where it was not."""
        found = self.tree.get("end_time")
        return round(found * 1e6) * 1_000 if isinstance(found, int | float) and 0 < found < 9e9 else 0

    @property
    def system_params(self) -> dict[Any, Any]:
        """What aim noted of the machine."""
        found = self._part("attrs").get(SYSTEM_PARAMS)
        return found if isinstance(found, dict) else {}

    @property
    def tags(self) -> dict[str, str]:
        """Git and the command, where aim noted them."""
        git, arguments = self.system_params.get("git_info"), self.system_params.get("arguments")
        git = git if isinstance(git, dict) else {}
        commit = git.get("commit")
        known = {
            "mlflow.source.git.repoURL": git.get("remote_origin_url"),
            "mlflow.source.git.branch": git.get("branch"),
            "mlflow.source.git.commit": commit.get("hash") if isinstance(commit, dict) else None,
            SOURCE_NAME_TAG: arguments[0] if isinstance(arguments, list) and arguments else None,
        }
        return {tag: str(value) for tag, value in known.items() if value}

    def left_out(self) -> Counter[str]:
        """What has no place in a store, counted."""
        found: Counter[str] = Counter()
        variables = self.system_params.get("env_variables")
        found["environment variables of runs"] = len(variables) if isinstance(variables, dict) else 0
        with self._open("seqs") as rocks:
            numbers = [each for each in self.sequences if each.is_numbers]
            found["metrics of which the points have epochs"] = count_with_epochs(rocks, numbers)
        unknown = [each for each in self.sequences if not each.is_numbers and _kind(each) not in OBJECTS]
        found["sequences of objects of other types"] = len(unknown)
        found["captions of images"] = sum(1 for each in self.sequences if self._has_caption(each))
        found["artifacts that are not on this machine"] = sum(1 for _, path in self._artifacts() if path is None)
        return found

    def _has_caption(self, sequence: Sequence) -> bool:
        """Whether the last of its images has one."""
        last = self._part("traces")[sequence.context][sequence.name].get("last")
        each = last if isinstance(last, list) else [last]
        return any(isinstance(image, TypedObject) and image.fields.get("caption") for image in each)

    # --- points ---

    def points(self) -> Iterator[pa.RecordBatch]:
        """All numbers, one sequence after the other."""
        with self._open("seqs") as rocks:
            for sequence in self.sequences:
                if not sequence.is_numbers:
                    continue
                try:
                    for part in numbers_of(rocks, sequence, partial(self._on_lost, sequence)):
                        yield make_batch(part.keys, part.codes, part.steps, part.times, part.values)
                except SourceError as error:
                    self.findings.problem(self.where, f"{sequence.key!r:.80}: {error}")

    def _on_lost(self, sequence: Sequence, count: int) -> None:
        self.findings.problem(self.where, f"{sequence.key!r:.80}: {count:,} numbers without a whole step")

    # --- objects ---

    def values(self) -> Iterator[SourceValue]:
        """Texts, distributions, and images that are PNG files."""
        with self._open("seqs") as rocks:
            for sequence in self._of({"aim.text", "aim.image", "aim.distribution"}):
                try:
                    for logged in objects_of(rocks, sequence):
                        try:
                            found = value_of(logged)
                        except SourceError as error:
                            self.findings.problem(self.where, f"{sequence.key!r:.80} at step {logged.step}: {error}")
                            continue
                        if found is not None:
                            yield found
                except SourceError as error:
                    self.findings.problem(self.where, str(error))

    def files(self) -> Iterator[SourceFile]:
        """Media that are not values, the console, notes, packages, and artifacts that are on this machine."""
        with self._open("seqs") as rocks:
            for sequence in self._of({"aim.image", "aim.audio", "aim.figure"}):
                try:
                    yield from filter(None, map(file_of, objects_of(rocks, sequence)))
                except SourceError as error:
                    self.findings.problem(self.where, str(error))
            for kind, name in ((LOG_LINE, CONSOLE), (LOG_RECORD, MESSAGES)):
                text = ""
                for sequence in self._of({kind}):
                    try:
                        text += "".join(map(line_of, objects_of(rocks, sequence)))
                    except SourceError as error:
                        self.findings.problem(self.where, str(error))
                if text:
                    yield text_file(name, text)
        packages = self.system_params.get("packages")
        if isinstance(packages, dict) and packages:
            yield text_file("requirements.txt", "".join(f"{name}=={version}\n" for name, version in packages.items()))
        for name, path in self._artifacts():
            if path is not None:
                yield SourceFile(name, path.stat().st_size, partial(_open, path))

    def _of(self, kinds: set[str]) -> list[Sequence]:
        return [each for each in self.sequences if not each.is_numbers and _kind(each) in kinds]

    def _artifacts(self) -> Iterator[tuple[str, Path | None]]:
        """Names of its artifacts, and where they are on this machine."""
        for name, each in self._part("artifacts").items():
            uri = each.fields.get("uri") if isinstance(each, TypedObject) else None
            path = _file_at(uri) if isinstance(uri, str) else None
            if path is None or not self.findings.is_outside(path):
                yield f"artifacts/{name}", path


def text_file(name: str, text: str) -> SourceFile:
    """A text as a file."""
    content = text.encode("utf-8", "replace")
    return SourceFile(name, len(content), partial(io.BytesIO, content))


def _open(path: Path) -> IO[bytes]:
    return path.open("rb")


def _file_at(uri: str) -> Path | None:
    """The file of a URI; None where it is not on this machine, or the URI is not one."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return None
    path = Path(unquote(parts.path))
    return path if parts.scheme == "file" and not parts.netloc and path.is_file() else None


def _kind(sequence: Sequence) -> str:
    return sequence.kind.removeprefix("list(").removesuffix(")")


def _plain(value: Any) -> Any:
    """A value of a tree as JSON has it: with texts as keys, and objects of aim's types by their names."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, TypedObject):
        return {"type": value.kind, **_plain(value.fields)}
    return value.hex() if isinstance(value, bytes) else value
