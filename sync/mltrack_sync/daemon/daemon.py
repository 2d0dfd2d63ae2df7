"""The background syncer, ``python -m mltrack_sync.daemon.daemon STORE``: pushes while runs go on, then ends by itself.

``start_run(sync=...)`` starts it in a session of its own; the remote is named by ``$MLTRACK_SYNC``. There is one for a
store and a remote: a second one leaves its request and ends. It lives until no run is live and all is pushed, or until
the remote was unreachable for ``$MLTRACK_SYNC_PATIENCE`` seconds after the last run ended; the next sync continues.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass, field, replace
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING

from mltrack.disk.locks import open_lock, try_lock, unlock
from mltrack.disk.trust import refuse_links
from mltrack.environment import MLTRACK_SYNC, MLTRACK_SYNC_INTERVAL, MLTRACK_SYNC_PATIENCE
from mltrack.errors import BusyError, MltrackError
from mltrack.recording.background_sync import LIVE_LOCK, REQUESTED
from mltrack.store import Store
from mltrack.text.redaction import Redacting, hide
from mltrack_sync.daemon.heartbeat import LOG, Heartbeat, write_heartbeat
from mltrack_sync.mlflow.plan.pending import change_token
from mltrack_sync.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mltrack.entities import RunHead
    from mltrack_sync.daemon.loop import Trigger
    from mltrack_sync.remotes.kind import Remote
    from mltrack_sync.report import PushReport

__all__ = ["Daemon", "PollConfig", "StopSignal", "follow", "main", "serve"]

LOG_BYTES_MAX = 256 * 1024
PROCESSOR_SHARE = 0.05
"""The share of one processor that sync cycles take at most, while the next one follows within seconds."""

PROBE_TRIES = 5
SLICE_S = 15.0
"""While runs are live a sync cycle ends after this time, so that what they log comes first again."""

_LOG = logging.getLogger("mltrack.background")


@dataclass(frozen=True, slots=True)
class PollConfig:
    """How often to poll, and how long to wait for an unreachable remote once no run is live any more; in seconds."""

    interval_s: float = 2.0
    patience_s: float = 300.0

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> PollConfig:
        """As ``$MLTRACK_SYNC_INTERVAL`` and ``$MLTRACK_SYNC_PATIENCE`` say; what is not a number is ignored."""
        given: dict[str, float] = {}
        for name, variable in (("interval_s", MLTRACK_SYNC_INTERVAL), ("patience_s", MLTRACK_SYNC_PATIENCE)):
            with contextlib.suppress(KeyError, ValueError):
                value = float(environ[variable])
                if 0 < value < float("inf"):
                    given[name] = value
        return cls(**given)


@dataclass(frozen=True, slots=True)
class Polled(Selection):
    """All runs, as found a moment ago."""

    found: dict[str, RunHead] = field(default_factory=dict)

    @classmethod
    def live_first(cls, heads: Mapping[str, RunHead]) -> Polled:
        """Live runs first: somebody is watching them."""
        return cls(found=dict(sorted(heads.items(), key=lambda item: not item[1].live)))

    def heads(self, store: Store) -> dict[str, RunHead]:
        """As they were found."""
        return self.found


class Daemon:
    """What one background syncer does at each poll, and when all its work is done."""

    def __init__(self, store: Store, remote: Remote, trigger: Trigger, config: PollConfig) -> None:
        self._store = store
        self._remote = remote
        self._trigger = trigger
        self._config = config
        self._folder = store.layout.remote(remote.name)
        self._pushed: object = None  # the store's state when all of it was pushed
        self._live = True
        self._quiet_since: float | None = None  # no run is live and nothing is left
        self._stuck_since: float | None = None  # no run is live, and something can't be pushed
        self._logged = ""
        self._cured_at = 0.0
        self.takes_requests = True  # False: a request can't be removed, so it is not a reason to continue
        self._heartbeat = Heartbeat(os.getpid(), os.uname().nodename, since=time.time_ns())
        self._noted()

    def poll(self, stop: threading.Event) -> PushReport:
        """One sync cycle, if the store has changed since all of it was pushed.

        Raises:
            MltrackError, OSError: as push.
        """
        from mltrack_sync.daemon.loop import CURED_EVERY_S
        from mltrack_sync.engine.push import push
        from mltrack_sync.http.retry import RetryPolicy
        from mltrack_sync.report import PushReport

        if not (self._store.path / "store.json").exists():
            _LOG.info("the store is gone")
            self._trigger.end()
            return PushReport(self._remote.name, self._remote.url)
        try:
            (self._folder / REQUESTED).unlink(missing_ok=True)
        except OSError:
            self.takes_requests = False
        heads = self._store.heads()
        self._live = any(head.live for head in heads.values())
        seen = (heads, _change_tokens(self._store.layout.workspace), change_token(self._store))
        if seen == self._pushed:
            return PushReport(self._remote.name, self._remote.url)
        cured = time.monotonic() >= self._cured_at
        if cured:
            self._cured_at = time.monotonic() + CURED_EVERY_S
        with _slice(stop) if self._live else contextlib.nullcontext():
            report = push(
                self._store,
                self._remote,
                selection=Polled.live_first(heads),
                policy=RetryPolicy(attempts_max=4, wait_max_s=5.0),
                retry_cured=cured,
                stop=stop,
            )
        self._pushed = None if report.problems or stop.is_set() else seen
        return report

    def passed(self, report: PushReport) -> None:
        """A sync cycle succeeded: note what it did, and end if nothing is left to do."""
        if report.runs:
            _LOG.info("%d runs, %d points, %d artifacts", report.runs, report.points, report.artifacts)
        self._log_trouble("; ".join(report.problems))
        if report.points or report.created or report.artifacts:
            self._stuck_since = None
        self._noted()
        self._end_if_quiet(left=self._pushed is None, now=time.monotonic())

    def _end_if_quiet(self, *, left: bool, now: float) -> None:
        """End where no run is live: at once where nothing is left for a while, else when patience is used up."""
        if self._live or left:
            self._quiet_since = None
        if self._live or not left:
            self._stuck_since = None
        if self._live:
            return
        if left:
            self._check_patience()
        elif self._quiet_since is None:
            self._quiet_since = now
        elif now - self._quiet_since >= self._config.interval_s:
            _LOG.info("no run is live and all is pushed")
            self._trigger.end()

    def troubled(self, error: Exception) -> None:
        """A sync cycle failed; another syncer at work is not a failure."""
        self._log_trouble(f"waiting: {error}")
        self._noted()
        if not self._live and not isinstance(error, BusyError):
            self._check_patience()

    def _check_patience(self) -> None:
        """Something can't be pushed and no run is live: give up once that has lasted too long."""
        now = time.monotonic()
        if self._stuck_since is None:
            self._stuck_since = now
        elif now - self._stuck_since >= self._config.patience_s:
            _LOG.warning("given up after %.0f s; the rest goes with the next sync", now - self._stuck_since)
            self._trigger.end()

    def _log_trouble(self, words: str) -> None:
        if words and words != self._logged:  # once, not at each poll
            _LOG.warning("%s", words)
        self._logged = words

    def _noted(self) -> None:
        self._heartbeat = replace(self._heartbeat, last_pass=time.time_ns(), trouble=self._logged)
        write_heartbeat(self._folder, self._heartbeat)


def _change_tokens(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, times and sizes that change when experiments or models do, which no run's head shows."""
    try:
        entries = [(entry.name, entry.stat()) for entry in os.scandir(folder)]
    except OSError:
        return ()
    return tuple(sorted((name, stat.st_mtime_ns, stat.st_size) for name, stat in entries))


@contextlib.contextmanager
def _slice(stop: threading.Event) -> Iterator[None]:
    timer = threading.Timer(SLICE_S, stop.set)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


# --- the process -------------------------------------------------------------------------------------------------


class StopSignal:
    """Whether a signal asked this process to end; the second signal ends it at once."""

    def __init__(self) -> None:
        self._trigger: Trigger | None = None
        self.requested = False

    def listen(self) -> None:
        """Take SIGINT and SIGTERM in a thread of their own: a handler could come while the trigger's lock is held."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        for number in numbers:  # also where the training ignores them
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
        threading.Thread(target=self._listen, args=(numbers,), daemon=True).start()

    def _listen(self, numbers: tuple[signal.Signals, ...]) -> None:
        signal.sigwait(numbers)
        self.requested = True
        if self._trigger is not None:
            self._trigger.end()
        os._exit(128 + signal.sigwait(numbers))  # the ledger is made for that

    def covers(self, trigger: Trigger) -> None:
        """End this trigger on a signal."""
        self._trigger = trigger
        if self.requested:
            trigger.end()


def follow(store: Store, remote: Remote, shutdown: StopSignal, config: PollConfig) -> bool:
    """Push what is recorded until all is pushed; returns whether it could take requests."""
    from mltrack_sync.daemon.loop import Trigger, watch
    from mltrack_sync.remotes.kind import rest_after_push_s

    trigger = Trigger()
    shutdown.covers(trigger)
    daemon = Daemon(store, remote, trigger, config)
    watch(
        store,
        daemon.poll,
        on_cycle=daemon.passed,
        on_trouble=daemon.troubled,
        interval_s=config.interval_s,
        patient=True,
        share=PROCESSOR_SHARE,
        rest_s=rest_after_push_s(remote),
        trigger=trigger,
    )
    return daemon.takes_requests


def serve(
    store: Store,
    remote: Remote,
    shutdown: StopSignal,
    config: PollConfig,
    *,
    follow: Callable[[Store, Remote, StopSignal, PollConfig], bool] = follow,
) -> None:
    """Follow the store, once more for each request left meanwhile; return at once if another process follows it.

    Raises:
        OSError: the remote's folder can't be written.
    """
    folder = store.layout.remote(remote.name)
    request = folder / REQUESTED
    folder.mkdir(parents=True, exist_ok=True)
    request.touch()
    while request.exists() and not shutdown.requested:
        with _lock(folder / LIVE_LOCK) as mine:
            if not mine:
                return  # the other one sees the request
            _LOG.info("process %d pushes %s to %s", os.getpid(), store.path, remote.url)
            if not follow(store, remote, shutdown, config):
                return


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[bool]:
    """Hold the lock for the body, where it can be had; a probe holds it for a moment only."""
    fd = open_lock(path)
    try:
        mine = try_lock(fd)
        for _ in range(PROBE_TRIES if mine is False else 0):
            time.sleep(0.02)
            mine = mine or try_lock(fd)
        if mine is None:
            _LOG.error("%s has no file locks: run mltrack sync --watch on one machine instead", path.parent)
        yield bool(mine)
    finally:
        unlock(fd)
        os.close(fd)


def main(arguments: list[str]) -> int:
    """The process; all its messages go to the log."""
    root = Path(arguments[0])
    if sys.stderr is not None:  # Python itself and other libraries write to it
        sys.stderr = Redacting(sys.stderr)
    _LOG.setLevel(logging.INFO)
    _LOG.propagate = False
    _yield_to_others()
    shutdown = StopSignal()
    shutdown.listen()
    try:
        from mltrack_sync.remotes.resolver import remote_for

        store = Store.open(root)
        refuse_links(root, root / "remotes")
        _log_to(root / "remotes" / LOG)
        remote = remote_for(store, os.environ.get(MLTRACK_SYNC) or None)
        remote.require_trust()
        os.chdir("/")  # hold no mount
        folder = store.layout.remote(remote.name)
        refuse_links(root, folder)
        folder.mkdir(parents=True, exist_ok=True)
        _log_to(folder / LOG)
        serve(store, remote, shutdown, PollConfig.from_environment())
    except (MltrackError, OSError) as error:
        _LOG.error("%s", error)
        return 1
    except BaseException as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        _LOG.critical("ended by %s at %s:%s", type(error).__name__, at.filename, at.lineno)
        raise
    return 0


def _yield_to_others() -> None:
    """Where the system knows batch work (Linux): wake up when a processor is free, not in the middle of a step."""
    with contextlib.suppress(AttributeError, OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


class _WithoutSecrets(logging.Formatter):
    """Removes secrets from what is logged, the messages of other libraries' errors included."""

    def format(self, record: logging.LogRecord) -> str:
        """As the base does."""
        return hide(super().format(record))


def _log_to(path: Path) -> None:
    """Log to this file from now on; if the disk does not take it, go on without a log."""
    logging.raiseExceptions = False
    handler = RotatingFileHandler(path, maxBytes=LOG_BYTES_MAX, backupCount=1, encoding="utf-8", delay=True)
    handler.setFormatter(_WithoutSecrets("%(asctime)s %(levelname)s %(message)s"))
    for old in _LOG.handlers[:]:
        _LOG.removeHandler(old)
        old.close()
    _LOG.addHandler(handler)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
