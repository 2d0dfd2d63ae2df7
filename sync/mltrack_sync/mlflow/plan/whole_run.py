"""The complete run next to a sampled history: its files as artifacts, and which of them a remote lacks.

They are in the run's artifacts in the folder ``mltrack`` (``mltrack-1`` and so on where the run itself has a file of
that name), by their paths in the run's folder:

- segments as they are;
- logs (events, series) and point journals of writers that have ended in *parts*, ``events/<writer>.jsonl.<a>-<b>`` for
  the bytes a to b: what a file grows by is a new part, so that nothing on the remote ever changes;
- ``manifest.<n>.json``, the last of which counts: which parts make up which files, with sizes and SHA-256.

Of a run that is being recorded these are the events, and of its points what is sealed and what ended writers left. What
its logs grow by goes once they are twice as long as what was sent, and when the run has ended.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from mltrack_sync.mlflow.plan.kinds import ARTIFACT
from mltrack_sync.stores.transfer import FileKind, FileState

if TYPE_CHECKING:
    from mltrack.disk.layout import RunFolder
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack_sync.ledger.runs import RunEntry
    from mltrack_sync.report import Rejected

__all__ = [
    "FOLDER",
    "Part",
    "PendingCopy",
    "WholeRun",
    "find_pending_copy",
    "find_whole_run",
    "folder_of",
    "manifest_number",
    "manifest_of",
    "parts_of",
    "unsent_segments",
]

FOLDER = "mltrack"
GROWTH_BYTES_MIN = 1 << 14
"""What the logs of a live run grow by goes in parts of this size at least."""

_PART = re.compile(r"(.+)\.([0-9]{1,15})-([0-9]{1,15})")
_MANIFEST = re.compile(r"manifest\.([0-9]{1,9})\.json")
_SEGMENT = re.compile(r"[0-9a-f]{16}\.[0-9]+-[0-9]+\.parquet")
_NO_SHA256 = "0" * 64


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes from ``start`` to ``end`` of a file of a run; ``name`` is the artifact, below the folder."""

    name: str
    path: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class WholeRun:
    """The files of a run, in the order in which they may be written, but for artifacts and points of live writers."""

    files: tuple[FileState, ...]
    live: tuple[str, ...]

    def sizes(self) -> dict[str, FileState]:
        """Each file once, as it is in the end."""
        return {state.path: state for state in self.files}


@dataclass(frozen=True, slots=True)
class PendingCopy:
    """What a remote lacks of the complete run: parts, and then a manifest of ``manifest_bytes`` with this number."""

    folder: str
    run: WholeRun
    parts: tuple[Part, ...]
    number: int
    manifest_bytes: int

    @property
    def size(self) -> int:
        """How many bytes are to be sent."""
        return sum(part.end - part.start for part in self.parts) + self.manifest_bytes

    def is_complete(self, sent: Mapping[str, str]) -> bool:
        """Whether all that the manifest names is among the artifacts of the run that were sent."""
        below = dict(_below(self.folder, sent))
        return all(part.name in below for state in self.run.sizes().values() for part in parts_of(state, below))

    def manifest(self, run_id: str, sent: Mapping[str, str]) -> bytes:
        """The manifest, by the SHA-256 of each artifact of the run that was sent."""
        return manifest_of(run_id, self.run, dict(_below(self.folder, sent)))


def find_whole_run(folder: RunFolder) -> WholeRun:
    """The files of a run as they are now.

    Raises:
        NotFoundError, OSError: they can't be read.
    """
    from mltrack_sync.stores.run_snapshot import RunReading  # here: it imports Arrow

    read = RunReading.take(str(folder.path), artifact_bytes_max=0)
    left = (state for state in read.files if not (state.kind == FileKind.POINTS and _writer(state.path) in read.live))
    return WholeRun(tuple(left), read.live)


def find_pending_copy(run: StoredRun, entry: RunEntry, rejected: Iterable[Rejected]) -> PendingCopy | None:
    """What the remote lacks of the complete run; None where nothing is to be sent now.

    Raises:
        NotFoundError, OSError: the run's files can't be read.
    """
    folder = folder_of(run)
    sent = dict(_below(folder, entry.artifacts))
    refused = {item.key for item in rejected if item.kind == ARTIFACT}
    found = find_whole_run(run.folder)
    pending = [part for state in found.sizes().values() for part in parts_of(state, sent) if part.name not in sent]
    pending = [part for part in pending if f"{folder}/{part.name}" not in refused]
    if found.live and not _is_worth_it(pending, sent):
        return None
    copy = PendingCopy(folder, found, tuple(pending), 0, 0)
    if refused and not pending and not copy.is_complete(entry.artifacts):
        return None  # what was refused is missing, so there is no manifest
    number = max((number for name in sent if (number := manifest_number(name))), default=0)
    manifest = manifest_of(run.run_id, found, sent)
    if not pending and number and sent[f"manifest.{number}.json"] == _sha256(manifest):
        return None
    if f"{folder}/manifest.{number + 1}.json" in refused:
        return None
    return replace(copy, number=number + 1, manifest_bytes=len(manifest))


def unsent_segments(folder: RunFolder, entry: RunEntry) -> list[str]:
    """Names of segments that were not sent: points may be sealed at any time, though nothing is written to the run."""
    try:
        names = [path.name for path in folder.segments.iterdir()]
    except OSError:
        return []
    sent = {path.rpartition("/")[2] for path in entry.artifacts}
    return [name for name in names if name not in sent and _SEGMENT.fullmatch(name) is not None]


def manifest_number(name: str) -> int:
    """The number of a manifest, by its name below the folder; 0 for any other name."""
    match = _MANIFEST.fullmatch(name)
    return int(match[1]) if match is not None else 0


def parts_of(state: FileState, sent: Collection[str]) -> list[Part]:
    """The parts that make up a file: those that were sent, as far as they follow one another, and the rest."""
    if state.kind == FileKind.WHOLE:
        return [Part(state.path, state.path, 0, state.size)]
    ends: dict[int, int] = {}
    for name in sent:
        match = _PART.fullmatch(name)
        if match is not None and match[1] == state.path and int(match[3]) <= state.size:
            ends[int(match[2])] = max(ends.get(int(match[2]), 0), int(match[3]))
    edges = [0]
    while (end := ends.get(edges[-1], 0)) > edges[-1]:
        edges.append(end)
    if edges[-1] < state.size:
        edges.append(state.size)
    return [Part(f"{state.path}.{start}-{end}", state.path, start, end) for start, end in pairwise(edges)]


def _is_worth_it(pending: list[Part], sent: Mapping[str, str]) -> bool:
    """Whether parts of a live run are to go now: the first ones, whole files, or logs that have doubled."""
    if not any(map(manifest_number, sent)) or any(_PART.fullmatch(part.name) is None for part in pending):
        return True
    known = sum(int(match[3]) - int(match[2]) for name in sent if (match := _PART.fullmatch(name)) is not None)
    return sum(part.end - part.start for part in pending) >= max(GROWTH_BYTES_MIN, known)


def folder_of(run: StoredRun) -> str:
    """The folder for the run's own files: one that none of its artifacts is, or is in."""
    tops = {artifact.path.partition("/")[0] for artifact in run.artifacts}
    number, name = 0, FOLDER
    while name in tops:
        number += 1
        name = f"{FOLDER}-{number}"
    return name


def _below(folder: str, artifacts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The artifacts in a folder, by their names in it."""
    start = f"{folder}/"
    return ((path.removeprefix(start), sha256) for path, sha256 in artifacts.items() if path.startswith(start))


def manifest_of(run_id: str, run: WholeRun, sent: Mapping[str, str]) -> bytes:
    """The manifest; a part that was not sent has a SHA-256 of zeros in it."""
    listed: dict[str, list[dict[str, Any]]] = {}
    for path, state in run.sizes().items():
        listed[path] = [
            {
                "name": part.name,
                "start": part.start,
                "size": part.end - part.start,
                "sha256": sent.get(part.name, _NO_SHA256),
            }
            for part in parts_of(state, sent)
        ]
    files = [
        {"path": s.path, "kind": s.kind.value, "size": s.size, "mark": s.mark, "first_seq": s.first_seq}
        for s in run.files
    ]
    fields = {"format": 1, "run": run_id, "live": sorted(run.live), "files": files, "parts": listed}
    return json.dumps(fields, sort_keys=True, indent=1).encode("ascii") + b"\n"


def _sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def _writer(path: str) -> str:
    return path.rpartition("/")[2].partition(".")[0]
