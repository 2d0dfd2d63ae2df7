"""System metrics: what the machine does while a run is recorded, at an interval, under MLflow's names.

A thread of its own takes a sample at once, then one at each interval, and a last one at the end. Of several processes
that record into one run on one host, one measures: it holds a lock in the run's folder.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from mltrack.disk.filesystem import LOCAL, FileSystem, try_lock, unlock
from mltrack.errors import MltrackError, UsageError
from mltrack.process.trouble import TROUBLE, say, words_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from mltrack.recording.run import Run
    from mltrack.storage.runs.state import RunState

__all__ = [
    "INTERVAL_S",
    "GpuSampler",
    "MachineSampler",
    "SystemMetrics",
    "interval_from",
    "load_nvml",
    "measure",
    "node_prefix",
    "wanted",
]

INTERVAL_S = 10.0
"""How long one sample stands for when nothing else is said: MLflow's own interval."""

CPU_WINDOW_S = 0.05
"""How much time must have passed for the processor's share of it to mean anything: five ticks of the kernel's clock."""

STOP_WAIT_S = 1.0
"""How long the end of a run waits for a sample under way: a driver that hangs does not hold it up."""

ENABLED_VARIABLES = ("MLTRACK_SYSTEM_METRICS", "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING")
INTERVAL_VARIABLES = ("MLTRACK_SYSTEM_METRICS_INTERVAL", "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL")
SAMPLES_VARIABLE = "MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING"
NODE_VARIABLE = "MLFLOW_SYSTEM_METRICS_NODE_ID"
NODE_RANK_VARIABLES = ("GROUP_RANK", "NODE_RANK", "SLURM_NODEID")

_PREFIX = "system/"
_LAST_VALUE = ("network_receive_megabytes", "network_transmit_megabytes")  # totals: a mean would say nothing
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "")


class Sampler(Protocol):
    """Something that can be measured again and again: metric names, without their prefix, and values."""

    def sample(self) -> Mapping[str, float]:
        """What it is now; what can't be measured is left out."""


class MachineSampler:
    """Processor, memory, disk and network of this host, by psutil; as MLflow takes them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        import psutil

        self._psutil = psutil
        self._clock = clock
        self._cpu_since = clock()
        psutil.cpu_percent()  # the share is that of the time since the call before
        network = psutil.net_io_counters()
        self._received, self._sent = (network.bytes_recv, network.bytes_sent) if network else (0, 0)

    def sample(self) -> Mapping[str, float]:
        """The host's load now; the network's traffic is counted from the first sample's making."""
        values: dict[str, float] = {}
        for part in (self._cpu, self._memory, self._disk, self._network):
            with contextlib.suppress(OSError, RuntimeError, self._psutil.Error):  # a container that hides it
                values |= part()
        return values

    def _cpu(self) -> dict[str, float]:
        if self._clock() - self._cpu_since < CPU_WINDOW_S:
            return {}
        self._cpu_since = self._clock()
        return {"cpu_utilization_percentage": self._psutil.cpu_percent()}

    def _memory(self) -> dict[str, float]:
        memory = self._psutil.virtual_memory()
        return {
            "system_memory_usage_megabytes": memory.used / 1e6,
            "system_memory_usage_percentage": memory.used / memory.total * 100,
        }

    def _disk(self) -> dict[str, float]:
        disk = self._psutil.disk_usage(os.sep)
        return {
            "disk_usage_percentage": disk.percent,
            "disk_usage_megabytes": disk.used / 1e6,
            "disk_available_megabytes": disk.free / 1e6,
        }

    def _network(self) -> dict[str, float]:
        network = self._psutil.net_io_counters()
        if network is None:
            return {}
        return {
            "network_receive_megabytes": (network.bytes_recv - self._received) / 1e6,
            "network_transmit_megabytes": (network.bytes_sent - self._sent) / 1e6,
        }


def load_nvml() -> Any:
    """NVIDIA's library, started; None where there is none, or no GPU."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError, OSError):
        return None
    return pynvml


class GpuSampler:
    """The GPUs of this host, by NVML (``pynvml``, or something with its functions). A query that fails is left out."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._handles: dict[int, Any] = {}
        with contextlib.suppress(nvml.NVMLError):
            for index in range(nvml.nvmlDeviceGetCount()):
                with contextlib.suppress(nvml.NVMLError):
                    self._handles[index] = nvml.nvmlDeviceGetHandleByIndex(index)

    def sample(self) -> Mapping[str, float]:
        """Use, memory, power and temperature of each GPU that answers."""
        values: dict[str, float] = {}
        for index, handle in self._handles.items():
            for part in (self._use, self._memory, self._power, self._power_share, self._temperature):
                with contextlib.suppress(self._nvml.NVMLError, ZeroDivisionError):
                    values |= {f"gpu_{index}_{name}": value for name, value in part(handle).items()}
        return values

    def _use(self, handle: Any) -> dict[str, float]:
        return {"utilization_percentage": self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu}

    def _memory(self, handle: Any) -> dict[str, float]:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        return {
            "memory_usage_megabytes": memory.used / 1e6,
            "memory_usage_percentage": memory.used / memory.total * 100,
        }

    def _power(self, handle: Any) -> dict[str, float]:
        return {"power_usage_watts": self._nvml.nvmlDeviceGetPowerUsage(handle) / 1000}

    def _power_share(self, handle: Any) -> dict[str, float]:
        limit = self._nvml.nvmlDeviceGetEnforcedPowerLimit(handle)
        return {"power_usage_percentage": self._nvml.nvmlDeviceGetPowerUsage(handle) / limit * 100}

    def _temperature(self, handle: Any) -> dict[str, float]:
        return {"temperature_celsius": self._nvml.nvmlDeviceGetTemperature(handle, self._nvml.NVML_TEMPERATURE_GPU)}


def host_samplers() -> list[Sampler]:
    """What can be measured on this host. It imports psutil, and NVML where it is installed."""
    samplers: list[Sampler] = [MachineSampler()]
    nvml = load_nvml()
    if nvml is not None:
        samplers.append(GpuSampler(nvml))
    return samplers


class SystemMetrics:
    """Measures into one run, in a thread of its own, until it is stopped. Nothing of it fails the training."""

    def __init__(
        self,
        run: Run,
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
            prefix: what metric names begin with; asked in the thread, like the next two.
            first_step: the step of the first sample.
            make_samplers: what to measure.
            wait: waits for the event, or so many seconds; True once the event is set.
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
            say("run %s: the machine is not measured: %s", run.run_id, words_of(error))

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
    """Means, rounded as MLflow rounds them; of the network's totals, the last."""
    values: dict[str, list[float]] = {}
    for sample in taken:
        for name, value in sample.items():
            values.setdefault(name, []).append(value)
    return {
        name: every[-1] if name in _LAST_VALUE else round(sum(every) / len(every), 1) for name, every in values.items()
    }


# --- what is asked for ---


def wanted(asked: bool | None, environment: Mapping[str, str], *, default: bool = False) -> bool:
    """Whether to measure: as ``asked``, else as the environment says, else ``default``.

    Raises:
        UsageError: the environment says neither yes nor no.
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
    """Seconds between samples, and samples a logged value, as the environment says.

    Raises:
        UsageError: a variable holds no positive number.
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
            raise UsageError(f"{variable}={text!r} is no positive number", hint=f"set {variable}=10")
        if variable == SAMPLES_VARIABLE:
            samples = max(1, int(number))
        else:
            interval_s = number
    return interval_s, samples


def node_prefix(environment: Mapping[str, str], *, host: str, first_host: str) -> str:
    """What metric names begin with: ``system/``, and a node's name where the run was begun on another host.

    MLflow's variable names the node; else its rank among the job's nodes, or the host itself.
    """
    node = environment.get(NODE_VARIABLE)
    if not node and first_host not in ("", host):
        rank = next((environment[variable] for variable in NODE_RANK_VARIABLES if environment.get(variable)), None)
        node = f"node_{rank}" if rank is not None else host
    return f"{_PREFIX}{node}/" if node else _PREFIX


def measure(
    run: Run,
    environment: Mapping[str, str] = os.environ,
    *,
    host: str | None = None,
    make_samplers: Callable[[], Iterable[Sampler]] = host_samplers,
    fs: FileSystem = LOCAL,
) -> SystemMetrics | None:
    """Measure this host into a run until it is stopped; None where another process does that already.

    Raises:
        UsageError: the environment asks for what is no interval.
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
    """Be the one who measures; returns what gives that up, or None where another does it.

    Where there are no locks, or the disk takes nothing, several may measure: that costs points, no truth.
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


def _state(run: Run) -> RunState:
    from mltrack.storage.runs.state import RunState

    state = RunState(run.folder)
    state.update()
    return state


def _first_host(state: RunState) -> str:
    """The host of the run's first writer."""
    first = min(state.writers.values(), key=lambda writer: writer.opened or 1 << 63, default=None)
    return first.host if first is not None else ""


def _first_step(state: RunState, every_s: float) -> int:
    """0, or for a run that is resumed a step beyond those that were measured before: as many as would have fitted."""
    elapsed_s = time.time() - state.info().start_time / 1e3
    return 0 if elapsed_s < every_s else int(elapsed_s / every_s) + 1
