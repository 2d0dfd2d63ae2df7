"""How a push or a comparison goes about its work, as values."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mltrack.errors import UsageError
from mltrack_sync.progress import NoProgress, Progress
from mltrack_sync.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Iterable

    import httpx

    from mltrack_sync.http.rate_limit import RateLimiter
    from mltrack_sync.http.retry import RetryPolicy

__all__ = ["JOBS", "PullOptions", "PushOptions", "VerifyOptions", "is_below"]

JOBS = 4


def _ignore(run_id: str) -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class PushOptions:
    """What of a store is pushed, and how.

    Attributes:
        selection: The runs, and what goes with them.
        jobs: How many things are pushed at a time.
        dry_run: Report what would be sent; make no request and write nothing.
        retry_rejected: Try again all that was rejected.
        history: How many points of a metric go, by a choice that loses no spike, with the complete run as files; 0 for
            all, None as the remote is set.
        retry_cured: Check, at a bounded cost, whether the reason for which whole runs were rejected is gone: an
            experiment or a run was restored on the remote, a permission was given.
        progress: Receives how far the push is.
        policy: What is retried, and how often; None is the default.
        http: Replaces the network.
        pace: Bounds the bytes sent per second.
        stop: Ends the push early when set.
        clock: Gives ns since the epoch.
        artifact_bytes_max: Larger files of artifacts are not sent (0: none at all); None is no limit. Only kinds whose
            remotes have the setting ``max_artifact_size`` can leave files out.
        repair: Repair on the remote what ``verify`` found different there: what is missing is sent again, files of
            another content are replaced. Only some kinds can (RepairingKind).
    """

    selection: Selection = field(default_factory=Selection)
    jobs: int = JOBS
    dry_run: bool = False
    retry_rejected: bool = False
    retry_cured: bool = True
    history: int | None = None
    progress: Progress = field(default_factory=NoProgress)
    policy: RetryPolicy | None = None
    http: httpx.BaseTransport | None = None
    pace: RateLimiter | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    clock: Callable[[], int] = time.time_ns
    artifact_bytes_max: int | None = None
    repair: bool = False

    def __post_init__(self) -> None:
        _check_jobs(self.jobs)

    @property
    def stoppable_policy(self) -> RetryPolicy:
        """The policy, whose waits end with PushStopped when ``stop`` is set."""
        return _stoppable(self.policy, self.stop)

    @property
    def stoppable_pace(self) -> RateLimiter | None:
        """The pace, whose waits end with PushStopped when ``stop`` is set."""
        return self.pace.until(self.stop) if self.pace is not None else None


@dataclass(frozen=True, slots=True)
class PullOptions:
    """What of a remote is pulled, and how.

    Attributes:
        selection: The runs as the remote knows them, and what goes with them.
        artifact_bytes_max: Larger files of artifacts are not brought (0: none at all); None is no limit.
        artifact_paths: Only these files and folders of a run's artifacts are brought; none means all.
        dry_run: Say what would be brought; nothing is written.
        recheck: Read also what looks unchanged where the remote lists it, and compare copies of another store's runs
            with their files here.
        jobs: How many things are pulled at a time.
        progress: Receives how far the pull is.
        policy: How often what is tried again; None is the usual.
        http: Replaces the network.
        pace: Bounds the bytes received per second.
        stop: Ends the pull early when set.
        clock: Gives ns since the epoch.
    """

    selection: Selection = field(default_factory=Selection)
    artifact_bytes_max: int | None = None
    artifact_paths: tuple[str, ...] = ()
    dry_run: bool = False
    recheck: bool = False
    jobs: int = JOBS
    progress: Progress = field(default_factory=NoProgress)
    policy: RetryPolicy | None = None
    http: httpx.BaseTransport | None = None
    pace: RateLimiter | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    clock: Callable[[], int] = time.time_ns

    def __post_init__(self) -> None:
        _check_jobs(self.jobs)

    def wants_artifact(self, path: str) -> bool:
        """Whether a file of a run's artifacts is among ``artifact_paths``."""
        return not self.artifact_paths or is_below(path, self.artifact_paths)

    @property
    def stoppable_policy(self) -> RetryPolicy:
        """The policy, whose waits end with PushStopped when ``stop`` is set."""
        return _stoppable(self.policy, self.stop)


def is_below(path: str, places: Iterable[str]) -> bool:
    """Whether a path is one of these, or in a folder that is."""
    return any(path == place or path.startswith(f"{place}/") for place in places)


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """What of a store is compared, and how.

    Attributes:
        selection: The runs, and what goes with them.
        quick: Compare the latest point of each metric and sizes of files, and no spans.
        runs_only: Compare runs and nothing else.
        jobs: How many things are compared at a time.
        policy: What is retried, and how often; None is the default.
        http: Replaces the network.
        on_run: Is called with the id of each run when it has been compared.
    """

    selection: Selection = field(default_factory=Selection)
    quick: bool = False
    runs_only: bool = False
    jobs: int = JOBS
    policy: RetryPolicy | None = None
    http: httpx.BaseTransport | None = None
    on_run: Callable[[str], None] = _ignore

    def __post_init__(self) -> None:
        _check_jobs(self.jobs)


def _stoppable(policy: RetryPolicy | None, stop: threading.Event) -> RetryPolicy:
    from mltrack_sync.http.rate_limit import interruptible
    from mltrack_sync.http.retry import RetryPolicy

    policy = policy or RetryPolicy()
    return replace(policy, sleep=interruptible(policy.sleep, stop))


def _check_jobs(jobs: int) -> None:
    if jobs < 1:
        raise UsageError(f"--jobs {jobs}: at least one job is needed", hint="give --jobs 1 or more")
