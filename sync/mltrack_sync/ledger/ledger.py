"""The ledger: what a remote acknowledged, run by run, as an append-only log; and what was on its way when the log ends.

A line is on the disk before the next step that relies on it is taken:

- ``create`` before runs/create is sent, ``run`` after it was answered: a create without a run may have happened.
- ``ack`` after each log-batch: how far the remote has each writer's events and points, and in ``next`` how far the
  request that follows goes. Points between the two are in doubt if the log ends here; ``next`` "*" puts all later ones
  in doubt.
- ``artifact``, ``ended``, ``stage``: these can be repeated, so a lost line costs a request and nothing else.
- ``rejected`` before the ack that goes past the item; ``cleared`` when it got through after all. What is tried again
  stays rejected until then, and moves no positions: all of it is compared with the remote before it is sent.
- ``forgotten``: the remote has no such run any more; what was known of it counts no longer. ``logged_model_forgotten``
  and ``model_forgotten`` say so of a logged and of a registered model.
- ``sampled``: that only a sample of the run's points goes, and which (see runs.py). Where that changes so that points
  before the positions are to go, an ``ack`` before it takes the positions back and puts these points in doubt.
- ``rewinds``: the rewinds of the run that were in force when the points that follow went. Where one that is undone
  shows points before the positions again, an ``ack`` before it takes the positions back.
- ``replace`` before the run is created again, as the remote has points that a rewind hides: what it has is to be
  deleted; ``former_deleted`` once it is. The lines before it have the facts of the run's children sent again.
- ``settled``: the run's head when nothing was left to send.
- ``entry``: all of these of one run at once. A ledger that has grown is rewritten with one such line for each run.
- ``linked``: which datasets and logged models the run is linked to on the remote, and which features
  it lacks for the others.
- ``model`` and ``model_version`` once the remote has them like this (see registry.py); ``logged_model`` and its like,
  and ``trace`` and ``traces``, in the same way (models.py, traces.py).
- ``table`` and ``table_records``: what the remote has of evaluation datasets, scorers and label schemas, and of the
  records of the first (tables.py). A record that is new there is noted before it is sent, too.
- ``pulled``: how a run of the remote looked when it was pulled, and where its histories go on (pulled.py).
- ``gone``: what was pulled is gone from the remote, or there again; ``model_renamed``: a model has another name there.
- ``store``: which store the remote is, and ``unit``: what else than runs it has of this one (stores.py).
- ``lake``: the number of the last batch in each of a lake's tables, and the lake's id (lake.py).
- ``bundle`` when one was written for the remote, and again when its receipt came (bundles.py).
- ``in_run`` before the first file of a logged model goes to a run, with that run's folder (fallback.py).
"""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.disk.jsonlog import JsonLog
from mltrack.disk.sync_line_types import LEDGER
from mltrack.text.redaction import hide
from mltrack_sync.errors import LedgerError
from mltrack_sync.http.responses import without_password
from mltrack_sync.ledger import fallback, models, tables, traces
from mltrack_sync.ledger.experiments import ExperimentEntry
from mltrack_sync.ledger.models import LoggedEntry
from mltrack_sync.ledger.pulled import Page, PulledEntry, page_lines
from mltrack_sync.ledger.registry import VersionEntry, model_line, version_line
from mltrack_sync.ledger.runs import EVERYTHING, RunEntry, Sampled
from mltrack_sync.ledger.state import VERSION, LedgerState, cleared_line, gone_line, rejected_line
from mltrack_sync.ledger.uploads import UploadLog
from mltrack_sync.ledger.view import LedgerView, LockedView
from mltrack_sync.report import Rejected

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

    from mltrack.entities import RunHead
    from mltrack_sync.ledger.tables import TableEntry

__all__ = ["EVERYTHING", "Ledger", "LedgerState", "RunEntry"]

UPLOADS = "uploads.jsonl"


class Ledger:
    """A ledger open for writing by the one syncer that holds its lock. Its methods may be called from many threads."""

    def __init__(self, path: Path, url: str, *, fs: FileSystem = LOCAL) -> None:
        """Open it, made when missing; ``state`` shows what is in it, damage too.

        Raises:
            OSError: it can't be read or written.
        """
        fs.make_folder(path.parent)
        self._state = LedgerState.read(path)
        if self._state.url not in ("", url):  # the name means another server now: what that one has is unknown
            fs.rename(path, path.with_name(f"{path.name}.old"))
            fs.unlink(path.with_name(UPLOADS))
            self._state = LedgerState()
        state = self._state
        if state.damage or state.is_long:
            state.url = url
            lines = state.compacted()
            _rewrite(path, lines, fs)
            state.lines = len(lines)
        self._lock = threading.Lock()
        self.state: LedgerView = LockedView(state, self._lock)
        self._fs = fs
        self._log = JsonLog(path, records=LEDGER, fs=fs, placed=True)
        if not state.url:
            self._write({"type": "ledger", "version": VERSION, "url": url})
            for folder in path.parents[1:3]:  # even if they existed: without its ledger, everything must be compared
                fs.sync_folder(folder)

    def close(self) -> None:
        """Close the file; one that has grown long is rewritten, so that the next sync cycle reads it sooner."""
        self._log.close()
        if self._state.is_long:
            with contextlib.suppress(OSError):  # it stays as it is
                _rewrite(self._log.path, self._state.compacted(), self._fs)

    def uploads(self) -> UploadLog:
        """The uploads in parts that are on their way, kept next to the ledger.

        Raises:
            LedgerError: they can't be read.
        """
        path = self._log.path.with_name(UPLOADS)
        try:
            return UploadLog(path, fs=self._fs)
        except OSError as error:
            raise LedgerError(f"{path} can't be read: {error.strerror}", hint="check its permissions") from error

    def run(self, run_id: str) -> RunEntry:
        """What the remote has of a run; an empty entry when nothing."""
        with self._lock:
            return self._state.run(run_id)

    def _write(self, *lines: dict[str, Any]) -> None:
        try:
            with self._lock:
                self._log.append(lines)
                for line in lines:
                    self._state.apply(line)
            self._log.sync()
        except OSError as error:
            raise LedgerError(
                f"{self._log.path} can't be written: {error.strerror}",
                hint="make room or fix its permissions, then sync again: what is in doubt is checked with the remote",
            ) from error

    def experiment(self, local: str, entry: ExperimentEntry) -> None:
        """Note which remote experiment the local one is."""
        self._write(entry.line(local))

    def creating(self, run_id: str) -> None:
        """Note that runs/create is about to be sent."""
        self._write({"type": "create", "run": run_id})

    def created(self, run_id: str, remote_id: str, experiment_id: str, uri: str, *, adopted: bool) -> None:
        """Note which remote run it is; ``adopted``: it was found on the remote, so all that it may hold is in doubt."""
        line = {
            "type": "run",
            "run": run_id,
            "remote": remote_id,
            "experiment": experiment_id,
            "uri": without_password(uri),
        }
        self._write({**line, "adopted": adopted})

    def in_doubt(self, run_id: str, files: Collection[str] = ()) -> None:
        """Note that everything of a run is to be compared with the remote, and that it lacks these files."""
        entry = copy.deepcopy(self.run(run_id))
        entry.events, entry.points = dict.fromkeys(entry.events, 0), dict.fromkeys(entry.points, 0)
        entry.doubt, entry.doubt_all = {}, True
        entry.artifacts = {path: sha256 for path, sha256 in entry.artifacts.items() if path not in files}
        entry.ended, entry.linked, entry.lacking, entry.settled = [], [], [], []
        self._write(*entry.lines(run_id))

    def forgotten(self, run_id: str) -> None:
        """Note that the remote no longer has the run: it is to be created again."""
        self._write({"type": "forgotten", "run": run_id})

    def ack(
        self,
        run_id: str,
        *,
        events: Mapping[str, int],
        points: Mapping[str, int],
        following: Mapping[str, int] | str,
        refused: list[Rejected] | None = None,
    ) -> None:
        """Note how far the remote has (or refused) each writer's events and points; ``following`` is sent next."""
        line = self._ack_line(run_id, events, points, following)
        self._write(*[rejected_line(item) for item in refused or ()], line)

    def sampled(
        self, run_id: str, sampled: Sampled, *, points: Mapping[str, int], following: Mapping[str, int] | str
    ) -> None:
        """Note which of a run's points go from now on; ``points`` and ``following`` as in ``ack``, if they change."""
        entry = self.run(run_id)
        changed = (points, following) != (entry.points, EVERYTHING if entry.doubt_all else entry.doubt)
        lines = [self._ack_line(run_id, {}, points, following)] if changed else []
        self._write(*lines, {"type": "sampled", "run": run_id, **sampled.fields()})

    def rewound(
        self,
        run_id: str,
        rewinds: Sequence[str],
        *,
        points: Mapping[str, int] | None = None,
        following: Mapping[str, int] | str | None = None,
    ) -> None:
        """Note which rewinds are in force from now on.

        Args:
            run_id: The run.
            rewinds: The rewinds.
            points: Positions from which the points go again, as in ``ack``, if they change.
            following: What may be on the remote beyond them, as in ``ack``.
        """
        entry = self.run(run_id)
        doubt = EVERYTHING if entry.doubt_all else entry.doubt
        changed = points is not None and (points, following) != (entry.points, doubt)
        lines = [self._ack_line(run_id, {}, points or {}, following or {})] if changed else []
        self._write(*lines, {"type": "rewinds", "run": run_id, "rewinds": list(rewinds)})

    def replacing(self, run_id: str, remote_id: str, children: Iterable[str] = ()) -> None:
        """Note that the run is to be created again, and what the remote has of it now to be deleted.

        Runs that name it as their parent, ``children``, have all their facts sent again.
        """
        entry = self.run(run_id)
        lines = [line for child in children for line in self._again_lines(child)]
        former = {"former": [*entry.former, remote_id], "replaced": entry.replaced}
        self._write(*lines, {"type": "replace", "run": run_id, **former})

    def _again_lines(self, run_id: str) -> list[dict[str, Any]]:
        entry = self.run(run_id)
        if not entry.remote_id:
            return []
        doubt = EVERYTHING if entry.doubt_all else dict(entry.doubt)
        ack = self._ack_line(run_id, dict.fromkeys(entry.events, 0), {}, doubt)
        return [ack, {"type": "settled", "run": run_id, "head": []}]

    def former_deleted(self, run_id: str, remote_id: str) -> None:
        """Note that a run that the remote had before is deleted there."""
        self._write({"type": "former_deleted", "run": run_id, "remote": remote_id})

    def _ack_line(
        self, run_id: str, events: Mapping[str, int], points: Mapping[str, int], following: Mapping[str, int] | str
    ) -> dict[str, Any]:
        entry = self.run(run_id)
        merged = RunEntry(events={**entry.events, **events}, points={**entry.points, **points})
        line: dict[str, Any] = {"type": "ack", "run": run_id, "at": merged.positions()}
        if following:
            line["next"] = following if isinstance(following, str) else dict(following)
        if entry.sampled.history:
            line["history"] = entry.sampled.history
        return line

    def artifact(self, run_id: str, path: str, sha256: str) -> None:
        """Note that the remote has that file with this content."""
        self._write({"type": "artifact", "run": run_id, "path": path, "sha256": sha256})

    def ended(self, run_id: str, ending: list[Any]) -> None:
        """Note that the remote has this status, end time and name."""
        self._write({"type": "ended", "run": run_id, "as": ending})

    def staged(self, run_id: str, stage: str) -> None:
        """Note that the remote has deleted the run, or restored it."""
        self._write({"type": "stage", "run": run_id, "stage": stage})

    def settled(self, head: RunHead) -> None:
        """Note that the remote has, or rejected, all up to this head."""
        self._write({"type": "settled", "run": head.run_id, "head": [head.events, head.points, head.live]})

    def model(self, name: str, description: str, tags: Mapping[str, str], aliases: Mapping[str, int]) -> None:
        """Note what the remote has of a registered model."""
        self._write(model_line(name, description, tags, aliases))

    def model_version(self, entry: VersionEntry, name: str, number: int) -> None:
        """Note what the remote has of a model version."""
        self._write(version_line(name, number, entry))

    def linked(self, run_id: str, links: list[str], lacking: list[str]) -> None:
        """Note the datasets and models that the run is linked to; others wait for features that the remote lacks."""
        self._write({"type": "linked", "run": run_id, "linked": links, "lacking": lacking})

    # --- logged models, and their files in runs ---

    def models_forgotten(self, logged: Sequence[str], registered: Sequence[str]) -> None:
        """Note that nothing is known any more of what the remote has of logged models, and of registered ones."""
        lines = [{"type": "logged_model_forgotten", "model": model_id} for model_id in logged]
        lines += [{"type": "model_forgotten", "model": name} for name in registered]
        if lines:
            self._write(*lines)

    def logged_model_created(self, model_id: str, remote_id: str, experiment_id: str, uri: str) -> None:
        """Note which remote logged model it is; its files go to ``uri``."""
        self._write(models.made_line(model_id, remote_id, experiment_id, uri))

    def logged_model_changed(self, model_id: str, entry: LoggedEntry) -> None:
        """Note the params, tags, status and stage that the remote has of the logged model."""
        self._write(models.state_line(model_id, entry))

    def logged_model_file_sent(self, model_id: str, path: str, sha256: str) -> None:
        """Note that the remote has that file of the logged model with this content."""
        self._write(models.file_line(model_id, path, sha256))

    def fallback_placed(self, model_id: str, run_id: str, remote_run: str, folder: str) -> None:
        """Note, before the first of the logged model's files is sent, the folder of a run that they go to."""
        self._write(fallback.place_line(model_id, run_id, remote_run, folder))

    def fallback_file_sent(self, model_id: str, path: str, sha256: str) -> None:
        """Note that the run has that file of the logged model with this content."""
        self._write(fallback.file_line(model_id, path, sha256))

    def fallback_settled(self, model_id: str, size: int) -> None:
        """Note that no file of the logged model is left to send, by its log of ``size`` bytes."""
        self._write(fallback.settled_line(model_id, size))

    # --- traces ---

    def trace_sent(self, trace_id: str, fingerprint: str) -> None:
        """Note that the remote has the trace as it was when it had this fingerprint."""
        self._write(traces.trace_line(trace_id, fingerprint))

    def traces_sent(self, positions: Mapping[str, int], sizes: Mapping[str, int]) -> None:
        """Note that the remote has all traces up to these positions in the writers' logs; ``sizes`` are the logs'."""
        self._write(traces.traces_line(positions, sizes))

    # --- evaluation datasets, scorers and label schemas ---

    def table_sent(self, kind: str, key: str, entry: TableEntry) -> None:
        """Note what the remote has of one of these."""
        self._write(tables.table_line(kind, key, entry))

    def records_known(
        self, dataset: str, has: Mapping[str, str], lacks: Collection[str] = (), *, reset: bool = False
    ) -> None:
        """Note which records of a dataset the remote has that are here too, and which it, or the store, lacks."""
        if has or lacks or reset:
            self._write(tables.records_line(dataset, has, lacks, reset=reset))

    # --- what was pulled ---

    def pulled(self, remote: str) -> PulledEntry:
        """What was pulled of a run of the remote; an empty entry when nothing."""
        with self._lock:
            return self._state.pulled.setdefault(remote, PulledEntry())

    def pages_pulled(self, remote: str, run_id: str, pages: Mapping[str, Page]) -> None:
        """Note where histories go on of which everything before is in the store."""
        self._write(page_lines(remote, run_id, pages))

    def run_pulled(self, remote: str, entry: PulledEntry, sent: RunEntry | None = None) -> None:
        """Note that all of a run is in the store; ``sent``: and that nothing of it needs to be sent back."""
        lines = sent.lines(entry.run_id) if sent is not None else []
        self._write(*lines, entry.line(remote))

    def gone(self, kind: str, keys: Sequence[str], *, gone: bool = True) -> None:
        """Note that things that were pulled are gone from the remote, or that they are there again."""
        if keys:
            self._write(*[gone_line(kind, key, gone=gone) for key in keys])

    def model_renamed(self, name: str, new_name: str) -> None:
        """Note that a registered model has another name on the remote, and here."""
        self._write({"type": "model_renamed", "model": name, "to": new_name})

    def copied(self, lines: Sequence[dict[str, Any]]) -> None:
        """Note what was copied to a remote that is a store (see stores.py, bundles.py)."""
        self._write(*lines)

    # --- what the remote does not take ---

    def rejected(self, item: Rejected) -> None:
        """Reject something."""
        self._write(rejected_line(item))

    def rejection(self, run_id: str, kind: str, key: str) -> Rejected | None:
        """The entry of a rejected item; None where it was not rejected."""
        with self._lock:
            return self._state.rejected.get((run_id, kind, key))

    def rejections(self, run_id: str = "") -> list[Rejected]:
        """What was rejected of a run; by default, what was rejected and belongs to no run."""
        with self._lock:
            return [item for item in self._state.rejected.values() if item.run_id == run_id]

    def is_rejected(self, item: Rejected) -> bool:
        """Whether it is rejected."""
        with self._lock:
            return (item.run_id, item.kind, item.key) in self._state.rejected

    def cleared(self, item: Rejected) -> None:
        """Note that a rejected item got through, or was deleted."""
        self._write(cleared_line(item))

    def tried_again(self, run_id: str, kinds: Collection[str], keys: Collection[str], refused: list[Rejected]) -> None:
        """Note that, of these kinds and keys of a run, only what was ``refused`` this time is still rejected."""
        still = {(item.kind, item.key) for item in refused}
        with self._lock:
            mine = [item for item in self._state.rejected.values() if item.run_id == run_id and item.key in keys]
        got = [item for item in mine if item.kind in kinds and (item.kind, item.key) not in still]
        self._write(*[rejected_line(item) for item in refused], *[cleared_line(item) for item in got])

    def finished(self, time_ns: int, counts: Mapping[str, Any]) -> None:
        """Note that a sync cycle was completed."""
        self._write({"type": "pass", "time": time_ns, **counts})

    def failed(self, time_ns: int, message: str) -> None:
        """Note that a sync cycle failed."""
        self._write({"type": "error", "time": time_ns, "message": hide(message)})


def _rewrite(path: Path, lines: list[dict[str, Any]], fs: FileSystem) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    fs.unlink(temporary)
    log = JsonLog(temporary, records=LEDGER, fs=fs, create=True, placed=True)
    try:
        log.append(lines)
    finally:
        log.close()
    fs.publish(temporary, path)
