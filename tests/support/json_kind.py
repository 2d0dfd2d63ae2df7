"""A toy kind of remote, ``jsonfolder:/PATH``: a folder of JSON files, one a run, a piece of points, or an artifact.

Another package would look so: a class, and an entry point of the group ``mltrack.remotes`` that names it. Files have
names that say what they hold, so that one written a second time makes no second one.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mltrack.errors import UsageError
from mltrack.storage.runs.stored_run import StoredRun
from mltrack.store import Store
from mltrack_sync.errors import RemoteUnavailableError
from mltrack_sync.ledger.ledger import LedgerState, RunEntry
from mltrack_sync.limits import Limits
from mltrack_sync.remotes.kind import PushWork, Remote
from mltrack_sync.remotes.options import PushOptions, VerifyOptions
from mltrack_sync.report import Difference, PushReport, VerifyReport

SCHEME = "jsonfolder:"
POINTS_AT_ONCE = 5


def _let_it_be(written: bool) -> None:
    """Nothing happens."""


class JsonKind:
    """The kind. ``on_request`` is called before (False) and after (True) each file is written, as by a network."""

    name = "jsonfolder"
    limits = Limits(unsupported=frozenset({"datasets", "logged models", "traces"}))
    takes_tokens = False
    shares_folders = False

    def __init__(self) -> None:
        self.on_request: Callable[[bool], None] = _let_it_be

    def claims(self, url: str) -> bool:
        return url.startswith(SCHEME)

    def check_url(self, url: str) -> str:
        if not url.startswith(f"{SCHEME}/"):
            raise UsageError(f"{url!r} does not name a folder", hint=f"give one such as {SCHEME}/PATH")
        return url

    def full_url(self, url: str, config: str | None) -> str:
        return url

    def name_for(self, url: str) -> str:
        return Path(url).name

    def check_tokens(self, token_file: str, token_command: str) -> None:
        if token_file or token_command:
            raise UsageError("a folder takes no tokens")

    def check_connection(self, remote: Remote) -> None:
        if not folder_of(remote).is_dir():
            raise RemoteUnavailableError(f"{remote.url} is not there", in_doubt=False)

    # --- push ---

    def push(self, work: PushWork) -> PushReport:
        self.check_connection(work.remote)
        counts: dict[str, Any] = Counter()
        for run_id, head in work.heads.items():
            entry = work.ledger.run(run_id)
            if entry.is_settled_at(head):
                continue
            run = work.store.run(run_id)
            counts["created"] += not entry.remote_id
            self._push_run(work, run)
            self._push_points(work, run, counts)
            self._push_files(work, run, counts)
            work.ledger.settled(run.head())
            counts["runs"] += 1
        return PushReport(work.remote.name, work.remote.url, **counts)

    def _push_run(self, work: PushWork, run: StoredRun) -> None:
        self._write(work, f"runs/{run.run_id}.json", run_fields(run))
        if not work.ledger.run(run.run_id).remote_id:
            work.ledger.created(run.run_id, run.run_id, run.info.experiment_id, work.remote.url, adopted=False)

    def _push_points(self, work: PushWork, run: StoredRun, counts: dict[str, Any]) -> None:
        done = dict(work.ledger.run(run.run_id).points)
        for writer, points in run.read_points(done):
            for at in range(0, len(points), POINTS_AT_ONCE):
                piece = points.take(slice(at, at + POINTS_AT_ONCE))
                first, last = int(piece.seqs[0]), int(piece.seqs[-1])
                self._write(work, f"points/{run.run_id}/{writer}-{first}.json", list(rows_of(piece)))
                done[writer] = last + 1
                work.ledger.ack(run.run_id, events={}, points=done, following={})
                counts["points"] += len(piece)

    def _push_files(self, work: PushWork, run: StoredRun, counts: dict[str, Any]) -> None:
        entry = work.ledger.run(run.run_id)
        for artifact in run.artifacts:
            if entry.artifacts.get(artifact.path) != artifact.sha256:
                content = base64.b64encode(run.artifact_path(artifact.path).read_bytes()).decode()
                self._write(work, f"files/{run.run_id}/{artifact.path}.json", content)
                work.ledger.artifact(run.run_id, artifact.path, artifact.sha256)
                counts["artifacts"] += 1

    def _write(self, work: PushWork, name: str, content: Any) -> None:
        path = folder_of(work.remote) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self.on_request(False)
        path.write_text(json.dumps(content))
        self.on_request(True)

    def dry_run(self, store: Store, remote: Remote, state: LedgerState, options: PushOptions) -> PushReport:
        heads = options.selection.heads(store)
        entries = {run_id: state.runs.get(run_id) or RunEntry() for run_id in heads}
        waiting = [run_id for run_id, head in heads.items() if not entries[run_id].is_settled_at(head)]
        points = sum(heads[run_id].points - sum(entries[run_id].points.values()) for run_id in waiting)
        return PushReport(remote.name, remote.url, dry_run=True, runs=len(waiting), points=points)

    # --- verify ---

    def verify(self, store: Store, remote: Remote, state: LedgerState, options: VerifyOptions) -> VerifyReport:
        self.check_connection(remote)
        found: list[Difference] = []
        counts: dict[str, Any] = Counter()
        for run_id in sorted(options.selection.heads(store)):
            run = store.run(run_id)
            pairs = [
                ("run", run_fields(run), read_run(remote, run_id)),
                ("points", sorted(here_points(run)), sorted(points_on(remote, run_id))),
                ("files", here_files(run), files_on(remote, run_id)),
            ]
            found += [Difference(run_id, what, str(here), str(there)) for what, here, there in pairs if here != there]
            counts["runs"] += 1
            counts["points"] += len(pairs[1][1] if pairs[1][1] == pairs[1][2] else [])
            options.on_run(run_id)
        return VerifyReport(remote.name, remote.url, differences=tuple(found), **counts)


def folder_of(remote: Remote) -> Path:
    return Path(remote.url.removeprefix(SCHEME))


def run_fields(run: StoredRun) -> dict[str, Any]:
    return {"name": run.info.run_name, "status": run.info.status, "params": dict(run.params), "tags": dict(run.tags)}


def rows_of(points: Any) -> Iterator[list[Any]]:
    columns = (points.codes, points.steps, points.times, points.values)
    for code, step, time, value in zip(*(column.tolist() for column in columns), strict=True):
        yield [points.keys[code], step, time, value]


def here_points(run: StoredRun) -> Iterator[list[Any]]:
    for _, points in run.read_points():
        yield from rows_of(points)


def here_files(run: StoredRun) -> dict[str, bytes]:
    return {artifact.path: run.artifact_path(artifact.path).read_bytes() for artifact in run.artifacts}


def read_run(remote: Remote, run_id: str) -> Any:
    path = folder_of(remote) / "runs" / f"{run_id}.json"
    return json.loads(path.read_text()) if path.exists() else None


def points_on(remote: Remote, run_id: str) -> Iterator[list[Any]]:
    """All points there; one that is there twice comes twice."""
    for path in sorted((folder_of(remote) / "points" / run_id).glob("*.json")):
        yield from json.loads(path.read_text())


def files_on(remote: Remote, run_id: str) -> dict[str, bytes]:
    top = folder_of(remote) / "files" / run_id
    paths = {str(path.relative_to(top)).removesuffix(".json"): path for path in top.rglob("*.json")}
    return {name: base64.b64decode(json.loads(path.read_text())) for name, path in paths.items()}
