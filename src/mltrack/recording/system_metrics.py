"""System metrics: the machine's load while a run is recorded, measured at intervals, under MLflow's names.

A thread takes a sample at once, then one at each interval, and a last one at the end. Of several processes on a host
that record into one run, one measures: it holds a lock in the run's folder.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Protocol

from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.disk.locks import try_lock, unlock
from mltrack.environment import MLTRACK_SYSTEM_METRICS, MLTRACK_SYSTEM_METRICS_INTERVAL
from mltrack.errors import MltrackError, UsageError
from mltrack.process.trouble import TROUBLE, say, words_of
from mltrack.recording.samplers import host_samplers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from mltrack.disk.layout import RunFolder
    from mltrack.recording.samplers import Sampler
    from mltrack.storage.runs.state import RunState

__all__ = [
    "INTERVAL_S",
    "MeasuredRun",
    "SystemMetrics",
    "interval_from",
    "is_enabled",
    "measure",
    "node_prefix",
]

INTERVAL_S = 10.0
"""The default interval between samples: MLflow's."""

STOP_WAIT_S = 1.0
"""How long the end of a run waits for a sample in progress, as a driver may hang."""

ENABLED_VARIABLES = (MLTRACK_SYSTEM_METRICS, "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING")
INTERVAL_VARIABLES = (MLTRACK_SYSTEM_METRICS_INTERVAL, "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL")
SAMPLES_VARIABLE = "MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING"
NODE_VARIABLE = "MLFLOW_SYSTEM_METRICS_NODE_ID"
NODE_RANK_VARIABLES = ("GROUP_RANK", "NODE_RANK", "SLURM_NODEID")

_PREFIX = "system/"
_LAST_VALUE = ("network_receive_megabytes", "network_transmit_megabytes")  # totals: the mean would be meaningless
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "")


class MeasuredRun(Protocol):
    """What is needed of the run that measurements go to."""

    run_id: str

    @property
    def folder(self) -> RunFolder:
        """The run's folder in its store."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log one point of each metric."""


class SystemMetrics:
    """Logs measurements to one run, in a thread of its own, until it is stopped. It never fails the training."""

    def __init__(
        self,
        run: MeasuredRun,
        *,
        interval_s: float = INTERVAL_S,
        samples: int = 1,
        prefix: Callable[[], str] = lambda: _PREFIX,
        first_step: Callable[[], int] = lambda: 0,
        make_samplers: Callable[[], Iterable[Sampler]] = host_samplers,
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin at once.

        Args:
            run: where to log.
            interval_s: seconds between two samples.
            samples: how many samples one logged value is the mean of.
            prefix: what metric names begin with; called in the thread, like the next two.
            first_step: the step of the first sample.
            make_samplers: what to measure.
            wait: waits for the event, or for that many seconds; True once the event is set.
            release: called at the end.
        """
        self._run = run
        self._interval_s = interval_s
        self._samples = samples
        self._prefix = prefix
        self._first_step = first_step
        self._make_samplers = make_samplers
        self._wait = wait
        self._release = release
        self._stopping = threading.Event()
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._work, name="mltrack-system-metrics", daemon=True)
        try:
            self._thread.start()
        except (RuntimeError, MemoryError) as error:
            self._release()
            say("run %s: system metrics are not logged: %s", run.run_id, words_of(error))

    @property
    def thread(self) -> threading.Thread:
        """The thread that measures."""
        return self._thread

    def stop(self) -> None:
        """Take the last sample and end. In a forked child, which has no such thread, it does nothing."""
        if os.getpid() != self._pid:
            return
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_WAIT_S)

    def _work(self) -> None:
        try:
            self._measure()
        except (MltrackError, *TROUBLE):  # the run has ended meanwhile; a host that can't be measured
            return
        finally:
            self._release()

    def _measure(self) -> None:
        samplers = list(self._make_samplers())
        step, prefix = self._first_step(), self._prefix()
        self._log([_sample(samplers)], prefix, step)
        taken: list[Mapping[str, float]] = []
        over = False
        while not over:
            over = self._wait(self._stopping, self._interval_s)
            taken.append(_sample(samplers))
            if over or len(taken) >= self._samples:
                step += 1
                self._log(taken, prefix, step)
                taken = []

    def _log(self, taken: list[Mapping[str, float]], prefix: str, step: int) -> None:
        self._run.log_metrics({prefix + name: value for name, value in _mean(taken).items()}, step)


def _sample(samplers: Iterable[Sampler]) -> dict[str, float]:
    values: dict[str, float] = {}
    for sampler in samplers:
        values |= sampler.sample()
    return values


def _mean(taken: list[Mapping[str, float]]) -> dict[str, float]:
    """Means, rounded as MLflow does; for the network's totals, the last value."""
    values: dict[str, list[float]] = {}
    for sample in taken:
        for name, value in sample.items():
            values.setdefault(name, []).append(value)
    return {
        name: every[-1] if name in _LAST_VALUE else round(sum(every) / len(every), 1) for name, every in values.items()
    }


# --- settings ---


def is_enabled(asked: bool | None, environment: Mapping[str, str], *, default: bool = False) -> bool:
    """Whether to measure: ``asked`` if given, else what the environment says, else ``default``.

    Raises:
        UsageError: the variable is neither true nor false.
    """
    if asked is not None:
        return asked
    for variable in ENABLED_VARIABLES:
        text = environment.get(variable)
        if text is not None:
            if text.lower() not in _TRUE + _FALSE:
                raise UsageError(f"{variable}={text!r} is neither true nor false", hint=f"set {variable}=true")
            return text.lower() in _TRUE
    return default


def interval_from(environment: Mapping[str, str]) -> tuple[float, int]:
    """Seconds between samples, and samples per logged value, from the environment.

    Raises:
        UsageError: a variable is not a positive number.
    """
    interval_s, samples = INTERVAL_S, 1
    for variable in (*reversed(INTERVAL_VARIABLES), SAMPLES_VARIABLE):
        text = environment.get(variable)
        if not text:
            continue
        try:
            number = float(text)
        except ValueError:
            number = 0.0
        if not 0 < number < 1e9:
            raise UsageError(f"{variable}={text!r} is not a positive number", hint=f"set {variable}=10")
        if variable == SAMPLES_VARIABLE:
            samples = max(1, int(number))
        else:
            interval_s = number
    return interval_s, samples


def node_prefix(environment: Mapping[str, str], *, host: str, first_host: str) -> str:
    """What metric names begin with: ``system/``, and a node's name if the run was started on another host.

    The name is from MLflow's variable, else the node's rank in the job, else the host's name.
    """
    node = environment.get(NODE_VARIABLE)
    if not node and first_host not in ("", host):
        rank = next((environment[variable] for variable in NODE_RANK_VARIABLES if environment.get(variable)), None)
        node = f"node_{rank}" if rank is not None else host
    return f"{_PREFIX}{node}/" if node else _PREFIX


def measure(
    run: MeasuredRun,
    environment: Mapping[str, str] = os.environ,
    *,
    host: str | None = None,
    make_samplers: Callable[[], Iterable[Sampler]] = host_samplers,
    fs: FileSystem = LOCAL,
) -> SystemMetrics | None:
    """Log this host's system metrics to a run until stopped; None if another process already does.

    Raises:
        UsageError: a variable is not a positive number.
    """
    interval_s, samples = interval_from(environment)
    host = host or os.uname().nodename
    release = _claim(run.folder.path / "live" / f"{host}.measured", fs)
    if release is None:
        return None

    return SystemMetrics(
        run,
        interval_s=interval_s,
        samples=samples,
        prefix=lambda: node_prefix(environment, host=host, first_host=_first_host(_state(run))),
        first_step=lambda: _first_step(_state(run), interval_s * samples),
        make_samplers=make_samplers,
        release=release,
    )


def _claim(path: Path, fs: FileSystem) -> Callable[[], None] | None:
    """Lock the run's measuring on this host; returns what unlocks it, or None if another process holds it.

    Without locks, or if the disk fails, several may measure: that makes more points, but no wrong ones.
    """
    try:
        fs.require(path.parent.parent)
        fs.make_folder(path.parent)
        fd = fs.open_append(path)
    except OSError:
        return lambda: None
    try:
        if try_lock(fd) is False:
            os.close(fd)
            return None
    except OSError:
        os.close(fd)
        return lambda: None

    def release() -> None:
        with contextlib.suppress(OSError):
            fs.unlink(path)
        unlock(fd)
        os.close(fd)

    return release


def _state(run: MeasuredRun) -> RunState:
    from mltrack.storage.runs.state import RunState

    state = RunState(run.folder)
    state.update()
    return state


def _first_host(state: RunState) -> str:
    """The host of the run's first writer."""
    first = min(state.writers.values(), key=lambda writer: writer.opened or 1 << 63, default=None)
    return first.host if first is not None else ""


def _first_step(state: RunState, every_s: float) -> int:
    """0, or for a resumed run a step after the last that could have been measured so far."""
    elapsed_s = time.time() - state.info().start_time / 1e3
    return 0 if elapsed_s < every_s else int(elapsed_s / every_s) + 1
