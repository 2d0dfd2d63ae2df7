"""Freeing local space: runs that the remote was found to have completely are deleted. First a plan, then execution."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import LOCAL, TEMPORARY, FileSystem
from mltrack.disk.layout import RunFolder
from mltrack.entities import DELETED, RunHead
from mltrack.errors import MltrackError, NotFoundError, RunStateError, UsageError
from mltrack.storage.check.check import check_store
from mltrack.storage.runs.edit import release_artifacts, remove_run
from mltrack.storage.runs.state import RunState
from mltrack_sync.engine.lock import sync_lock
from mltrack_sync.engine.verify import verify
from mltrack_sync.remotes.config import Remotes
from mltrack_sync.remotes.kind import BASIC_FACTS, ComparingKind, find_kind
from mltrack_sync.remotes.ledgers import read_ledger
from mltrack_sync.remotes.options import JOBS
from mltrack_sync.remotes.pending import is_run_pending
from mltrack_sync.remotes.receivers import receivers
from mltrack_sync.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import httpx

    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack.store import Store
    from mltrack_sync.http.retry import RetryPolicy
    from mltrack_sync.remotes.kind import Kind, Remote
    from mltrack_sync.report import Difference

__all__ = ["Deletable", "GcPlan", "Retained", "RetentionPolicy", "execute", "parse_age", "plan_gc"]

PLAN_AGE_MAX_S = 600.0
"""A plan older than this is not executed: what is on the remote may have changed."""

_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_INTERRUPTED = re.compile(r"\.[0-9a-f]{32}\.\d+" + re.escape(TEMPORARY))


@dataclass(frozen=True, slots=True)
class Deletable:
    """A run that the remote has completely; ``bytes`` is the space that its deletion frees."""

    run_id: str
    run_name: str
    bytes: int
    head: RunHead


@dataclass(frozen=True, slots=True)
class Retained:
    """A run that stays, and why."""

    run_id: str
    run_name: str
    reason: str


@dataclass(frozen=True, slots=True)
class GcPlan:
    """What may be deleted and what stays. ``keep_metrics``: only delete artifacts. ``made_at`` is in seconds."""

    remote: str
    url: str
    keep_metrics: bool
    made_at: float
    deletable: tuple[Deletable, ...] = ()
    retained: tuple[Retained, ...] = ()

    @property
    def bytes(self) -> int:
        """The space that would be freed."""
        return sum(run.bytes for run in self.deletable)


def plan_gc(
    store: Store,
    remote: Remote,
    *,
    selection: Selection | None = None,
    older_than_s: float = 0.0,
    keep_metrics: bool = False,
    jobs: int = JOBS,
    policy: RetryPolicy | None = None,
    http: httpx.BaseTransport | None = None,
    clock: Callable[[], float] = time.time,
) -> GcPlan:
    """Find runs that ended ``older_than_s`` seconds ago or earlier and that the remote has completely. Removes nothing.

    Each is compared in full (see verify). Retained are live runs, those with rejected items, those that are damaged or
    hold something that is not compared, those that are pending for another remote, those deleted here, and those that a
    model version is made of.

    Args:
        store: The store.
        remote: The remote that must have them.
        selection: Which runs are considered; all by default.
        older_than_s: How long ago a run must have ended.
        keep_metrics: Delete only the files of artifacts.
        jobs: How many runs are compared at a time.
        policy: What is retried, and how often.
        http: Replaces the network.
        clock: Gives s since the epoch.

    Raises:
        RemoteError, NotFoundError, FilterError, UsageError, StoreError, OSError: as verify.
    """
    chosen = (selection or Selection()).heads(store)
    policy_of_runs = RetentionPolicy(store, remote, now_s=clock(), older_than_s=older_than_s, keep_metrics=keep_metrics)
    asked, retained = _candidates(store, sorted(chosen), policy_of_runs)
    differing: dict[str, str] = {}
    partly: frozenset[str] = frozenset()
    if asked:
        found = Selection(runs=tuple(run.run_id for run in asked))
        report = verify(store, remote, selection=found, runs_only=True, jobs=jobs, policy=policy, http=http)
        differing = _why_they_differ(report.differences)
        partly = frozenset(report.partly_compared)
    deletable = []
    for run in asked:
        name, reason = run.stored.info.run_name, differing.get(run.run_id)
        if reason is not None:
            retained.append(Retained(run.run_id, name, f"differs from the remote: {reason}"))
        elif run.run_id in partly:
            words = "has datasets or logged models, which the remote does not support"
            retained.append(Retained(run.run_id, name, words))
        else:
            space = _bytes_below(run.stored.folder.artifacts if keep_metrics else run.stored.folder.path)
            deletable.append(Deletable(run.run_id, name, space, run.head))
    return GcPlan(remote.name, remote.url, keep_metrics, clock(), tuple(deletable), tuple(retained))


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A run that may be deleted as far as the store is concerned; ``head`` is its head when that was checked."""

    run_id: str
    stored: StoredRun
    head: RunHead


def _candidates(
    store: Store, run_ids: Iterable[str], policy: RetentionPolicy
) -> tuple[list[_Candidate], list[Retained]]:
    """The runs that may be deleted if the remote has them completely, and those that stay in any case."""
    candidates: list[_Candidate] = []
    retained: list[Retained] = []
    for run_id in run_ids:
        try:
            run = store.run(run_id)
            head = run.head()
            reason = policy.reason_to_keep(run, head)
        except NotFoundError:
            continue
        except (MltrackError, OSError) as error:
            retained.append(Retained(run_id, "", f"can't be read: {error}"))
            continue
        if reason:
            retained.append(Retained(run_id, run.info.run_name, reason))
        else:
            candidates.append(_Candidate(run_id, run, head))
    return candidates, retained


def _why_they_differ(differences: Iterable[Difference]) -> dict[str, str]:
    """In words, what differs of each run: the first difference, and how many more there are."""
    by_run: dict[str, list[str]] = defaultdict(list)
    for each in differences:
        by_run[each.run_id].append(f"{each.thing}: local {each.local}, remote {each.remote}")
    return {
        run_id: words[0] + (f" (and {len(words) - 1} more)" if len(words) > 1 else "")
        for run_id, words in by_run.items()
    }


def execute(
    store: Store,
    plan: GcPlan,
    *,
    on_deleted: Callable[[Deletable], None] = lambda run: None,
    clock: Callable[[], float] = time.time,
    fs: FileSystem = LOCAL,
) -> tuple[list[Deletable], list[Retained]]:
    """Remove what the plan names; returns what was removed, and what stayed because it changed meanwhile.

    Each run is removed at once: an interruption leaves every run complete or removed.

    Raises:
        UsageError: the plan is too old.
        BusyError: a sync with that remote is running, or another gc; nothing was removed.
        StoreError: something can't be removed.
    """
    if not 0 <= clock() - plan.made_at <= PLAN_AGE_MAX_S:
        raise UsageError("the comparison with the remote is too old", hint="run mltrack gc again")
    with sync_lock(store.layout.remote(plan.remote), plan.remote, "mltrack gc"):
        return _remove(store, plan, on_deleted, fs)


def _remove(
    store: Store, plan: GcPlan, on_deleted: Callable[[Deletable], None], fs: FileSystem
) -> tuple[list[Deletable], list[Retained]]:
    deleted: list[Deletable] = []
    retained: list[Retained] = []
    for each in plan.deletable:
        try:
            if plan.keep_metrics:
                run = store.run(each.run_id)
                release_artifacts(store.layout, each.run_id, run.artifacts, plan.remote, head=each.head, fs=fs)
            else:
                remove_run(store.layout, each.run_id, each.head, forks=partial(store.forks, each.run_id), fs=fs)
        except NotFoundError:
            continue
        except RunStateError as error:
            retained.append(Retained(each.run_id, each.run_name, str(error)))
            continue
        deleted.append(each)
        on_deleted(each)
    for path in _interrupted_deletes(store):
        shutil.rmtree(path, ignore_errors=True)
    return deleted, retained


class RetentionPolicy:
    """Says why a run stays, as far as the store can tell."""

    def __init__(self, store: Store, remote: Remote, *, now_s: float, older_than_s: float, keep_metrics: bool) -> None:
        self._store = store
        self._now = now_s
        self._older_than = older_than_s
        self._keep_metrics = keep_metrics
        self._rejected: dict[str, int] = defaultdict(int)
        for item in read_ledger(store, remote).rejected.values():
            self._rejected[item.run_id] += 1
        self._kind = find_kind(remote.kind)
        others = [other for other in Remotes(store).all() if other.name != remote.name]
        self._others = [(other.name, read_ledger(store, other)) for other in others]
        waiting = [each for each in receivers(store) if each.name != remote.name]
        arrived = [(each.name, read_ledger(store, each)) for each in waiting]
        # one that never sends receipts would hold back everything for ever
        self._others += [(name, state) for name, state in arrived if state.bundles.base(assume_arrived=False)]
        self._models = {version.run_id: version for version in store.registry.versions() if version.run_id}

    def reason_to_keep(self, run: StoredRun, head: RunHead) -> str:
        """The reason, or "". The cheapest checks come first."""
        info, run_id = run.info, run.run_id
        ended_s = max((info.end_time or 0) / 1e3, run.state.last_time / 1e9)
        model = self._models.get(run_id)
        if head.live:
            return "is being recorded"
        if info.lifecycle_stage == DELETED:
            return "is deleted here: mltrack rm --purge removes it"
        if self._now - ended_s < self._older_than:
            return "is too young"
        if self._keep_metrics and not any(not artifact.remote for artifact in run.artifacts):
            return "has no files here"
        if self._rejected[run_id]:
            return f"{self._rejected[run_id]} of its items were rejected (see mltrack status)"
        forks = [] if self._keep_metrics else self._store.forks(run_id)
        if forks:
            return f"{forks[0]} was forked from it" if len(forks) == 1 else f"{len(forks)} runs were forked from it"
        if model is not None:
            return f"version {model.version} of model {model.name!r} is made of it"
        for name, state in self._others:
            if is_run_pending(head, state):
                return f"is not on remote {name!r} yet (mltrack remote rm {name}, if it never will be)"
        strange = {event.type for event in run.read_events() if not _is_compared(self._kind, event.type)}
        if "rewind" in strange:
            if run.visibility is not None and run.visibility.in_force:
                return "was rewound: the remote does not have what that hides"
            strange.remove("rewind")
        if strange:
            return f"holds what can't be compared with a remote: {', '.join(sorted(strange))}"
        findings = check_store(self._store.path, [run_id]).findings
        return f"{findings[0].path} {findings[0].what} (see mltrack check)" if findings else ""


def _is_compared(kind: Kind, fact: str) -> bool:
    return kind.compares(fact) if isinstance(kind, ComparingKind) else fact in BASIC_FACTS


def parse_age(text: str) -> float:
    """Seconds in a text such as ``7d``, ``12h``, ``30m``, ``90s`` or ``2w``.

    Raises:
        UsageError: it is not an age.
    """
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not an age", hint="give one such as --older-than 7d or 12h")
    return float(match[1]) * _SECONDS[match[2]]


def _bytes_below(folder: Path) -> int:
    """The disk space that the files take."""
    return sum(os.lstat(os.path.join(at, name)).st_blocks * 512 for at, _, names in os.walk(folder) for name in names)


def _interrupted_deletes(store: Store) -> Iterator[Path]:
    """Runs that an earlier gc or purge was deleting when it was interrupted."""
    for name in os.listdir(store.layout.runs):
        if _INTERRUPTED.fullmatch(name):
            state = RunState(RunFolder(store.layout.runs / name))
            state.update()
            if not state.live:
                yield store.layout.runs / name
