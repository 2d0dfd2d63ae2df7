"""System metrics: MLflow's names and numbers, one process a host, and nothing that a driver does fails the training."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

import mltrack
from mltrack.errors import UsageError
from mltrack.recording.samplers import GpuSampler, MachineSampler
from mltrack.recording.system_metrics import (
    SystemMetrics,
    interval_from,
    is_enabled,
    measure,
    node_prefix,
)
from tests.support.recording import run_python, start_python, stored

MACHINE = {
    "cpu_utilization_percentage",
    "system_memory_usage_megabytes",
    "system_memory_usage_percentage",
    "disk_usage_percentage",
    "disk_usage_megabytes",
    "disk_available_megabytes",
    "network_receive_megabytes",
    "network_transmit_megabytes",
}


class NvmlError(Exception):
    """What NVML raises."""


class Nvml:
    """NVML's functions over GPUs that are not there; those named in ``broken`` fail."""

    NVMLError = NvmlError
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, gpus: int, broken: Mapping[int, set[str]] | None = None) -> None:
        self.gpus = gpus
        self.broken = broken or {}

    def _ask(self, handle: int, name: str, answer: Any) -> Any:
        if name in self.broken.get(handle, set()):
            raise NvmlError(name)
        return answer

    def nvmlDeviceGetCount(self) -> int:
        return self.gpus

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return int(self._ask(index, "handle", index))

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        return self._ask(handle, "use", SimpleNamespace(gpu=73))

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return self._ask(handle, "memory", SimpleNamespace(used=3_000_000_000, total=8_000_000_000))

    def nvmlDeviceGetPowerUsage(self, handle: int) -> Any:
        return self._ask(handle, "power", 150_000)

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: int) -> Any:
        return self._ask(handle, "limit", 300_000)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> Any:
        return self._ask(handle, "temperature", 61 + sensor)


class Counting:
    """A sampler whose values tell how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def sample(self) -> Mapping[str, float]:
        self.asked += 1
        return {"cpu_utilization_percentage": float(self.asked), "network_receive_megabytes": float(self.asked)}


class Turns:
    """Stands in for waiting: each wait ends when the test says so."""

    def __init__(self) -> None:
        self.turn = threading.Semaphore(0)
        self.waits: list[float] = []

    def __call__(self, stopping: threading.Event, seconds: float) -> bool:
        self.waits.append(seconds)
        self.turn.acquire()
        return stopping.is_set()


@pytest.fixture
def run(tmp_path: Path) -> mltrack.Run:
    mltrack.set_store(tmp_path / "s")
    return mltrack.start_run()


def wait_until(met: Callable[[], bool]) -> None:
    while not met():
        time.sleep(0.01)


def values(run: mltrack.Run, key: str) -> list[tuple[int, float]]:
    table = run.stored().metrics(key)
    return list(zip(table["step"].to_pylist(), table["value"].to_pylist(), strict=True))


def test_the_machine_is_measured_under_mlflows_names() -> None:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    theirs: set[str] = set()
    monitors: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    for monitor in monitors:
        monitor.collect_metrics()
        theirs |= set(monitor.aggregate_metrics())
    now = 0.0
    sampler = MachineSampler(lambda: now)
    now = 1.0
    sample = sampler.sample()
    assert set(sample) == MACHINE == theirs
    assert 0 <= sample["cpu_utilization_percentage"] <= 100
    assert 0 < sample["system_memory_usage_megabytes"] < psutil.virtual_memory().total / 1e6
    assert sample["network_receive_megabytes"] >= 0


def test_processor_usage_is_omitted_until_there_is_an_interval_to_measure() -> None:
    now = 0.0
    sampler = MachineSampler(lambda: now)
    assert set(sampler.sample()) == MACHINE - {"cpu_utilization_percentage"}
    now = 10.0
    assert set(sampler.sample()) == MACHINE


def test_each_gpu_is_measured_under_mlflows_names() -> None:
    sample = GpuSampler(Nvml(2)).sample()
    one = {
        "utilization_percentage": 73,
        "memory_usage_megabytes": 3000.0,
        "memory_usage_percentage": 37.5,
        "power_usage_watts": 150.0,
        "power_usage_percentage": 50.0,
        "temperature_celsius": 61,
    }
    assert sample == {f"gpu_{index}_{name}": value for index in (0, 1) for name, value in one.items()}


def test_what_a_gpu_does_not_report_is_omitted() -> None:
    nvml = Nvml(3, {0: {"power", "temperature"}, 1: {"handle"}, 2: {"limit", "use", "memory"}})
    assert set(GpuSampler(nvml).sample()) == {
        "gpu_0_utilization_percentage",
        "gpu_0_memory_usage_megabytes",
        "gpu_0_memory_usage_percentage",
        "gpu_2_power_usage_watts",
        "gpu_2_temperature_celsius",
    }


def test_there_is_one_sample_at_once_one_per_interval_and_one_at_the_end(run: mltrack.Run) -> None:
    turns = Turns()
    measuring = SystemMetrics(run, interval_s=7.0, make_samplers=lambda: [Counting()], wait=turns)
    run.attach(measuring)
    wait_until(lambda: len(turns.waits) == 1)
    assert values(run, "system/cpu_utilization_percentage") == [(0, 1.0)]
    turns.turn.release()
    wait_until(lambda: len(turns.waits) == 2)
    assert values(run, "system/cpu_utilization_percentage") == [(0, 1.0), (1, 2.0)]
    turns.turn.release(2)
    run.end()
    assert values(run, "system/cpu_utilization_percentage")[:3] == [(0, 1.0), (1, 2.0), (2, 3.0)]
    assert not measuring.thread.is_alive()
    assert set(turns.waits) == {7.0}


def test_several_samples_are_averaged_but_of_totals_the_last_is_kept(run: mltrack.Run) -> None:
    turns = Turns()
    run.attach(SystemMetrics(run, samples=3, make_samplers=lambda: [Counting()], wait=turns))
    turns.turn.release(3)
    wait_until(lambda: len(turns.waits) == 4)
    assert values(run, "system/cpu_utilization_percentage") == [(0, 1.0), (1, 3.0)]
    assert values(run, "system/network_receive_megabytes") == [(0, 1.0), (1, 4.0)]
    turns.turn.release()
    run.end()


def test_a_machine_that_cannot_be_measured_harms_nothing(run: mltrack.Run) -> None:
    def broken() -> list[Counting]:
        raise OSError("no /proc here")

    measuring = SystemMetrics(run, make_samplers=broken)
    measuring.thread.join()
    run.log_metric("loss", 1.0)
    measuring.stop()
    run.end()
    assert run.stored().data.metrics == {"loss": 1.0}


def test_a_run_measured_in_code_has_a_sample_however_short_it_is(tmp_path: Path) -> None:
    mltrack.set_store(tmp_path / "s")
    with mltrack.start_run(log_system_metrics=True) as run:
        mltrack.log_metric("loss", 1.0)
    metrics = run.stored().data.metrics
    assert {f"system/{name}" for name in MACHINE - {"cpu_utilization_percentage"}} <= set(metrics)
    with mltrack.start_run() as unmeasured:
        pass
    assert unmeasured.stored().data.metrics == {}


@pytest.mark.parametrize("variable", ["MLTRACK_SYSTEM_METRICS", "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"])
def test_the_environment_can_turn_measuring_on(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mltrack.set_store(tmp_path / "s")
    monkeypatch.setenv(variable, "true")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_NODE_ID", "n7")
    with mltrack.start_run() as run:
        pass
    assert "system/n7/disk_usage_percentage" in run.stored().data.metrics
    with mltrack.start_run(log_system_metrics=False) as run:
        pass
    assert run.stored().data.metrics == {}
    monkeypatch.setenv(variable, "perhaps")
    with pytest.raises(UsageError, match=variable):
        mltrack.start_run()
    assert mltrack.active_run() is None


def test_our_variable_overrides_mlflows_and_both_override_the_default() -> None:
    both = {"MLTRACK_SYSTEM_METRICS": "0", "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "true"}
    assert not is_enabled(None, both, default=True)
    assert is_enabled(True, both)
    assert is_enabled(None, {}, default=True)
    assert not is_enabled(None, {})


def test_the_interval_is_mlflows_unless_configured() -> None:
    assert interval_from({}) == (10.0, 1)
    theirs = {
        "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "2.5",
        "MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING": "4",
    }
    assert interval_from(theirs) == (2.5, 4)
    assert interval_from({**theirs, "MLTRACK_SYSTEM_METRICS_INTERVAL": "1"}) == (1.0, 4)
    for bad in ("often", "0", "-1", "nan", "inf"):
        with pytest.raises(UsageError, match="INTERVAL"):
            interval_from({"MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": bad})


def test_hosts_after_the_first_have_their_own_prefix() -> None:
    assert node_prefix({}, host="a", first_host="a") == "system/"
    assert node_prefix({}, host="b", first_host="a") == "system/b/"
    assert node_prefix({"SLURM_NODEID": "3"}, host="b", first_host="a") == "system/node_3/"
    assert node_prefix({"GROUP_RANK": "1", "SLURM_NODEID": "3"}, host="b", first_host="a") == "system/node_1/"
    assert node_prefix({"MLFLOW_SYSTEM_METRICS_NODE_ID": "x"}, host="a", first_host="a") == "system/x/"


def test_of_several_processes_on_a_host_only_one_measures(run: mltrack.Run) -> None:
    first = measure(run, {}, host="here", make_samplers=lambda: [Counting()])
    assert first is not None
    assert measure(run, {}, host="here", make_samplers=lambda: [Counting()]) is None
    elsewhere = measure(run, {}, host="there", make_samplers=lambda: [Counting()])
    assert elsewhere is not None
    elsewhere.stop()
    first.stop()
    metrics = run.stored().data.metrics
    assert "system/here/cpu_utilization_percentage" in metrics  # neither is the host the run was begun on
    assert "system/there/cpu_utilization_percentage" in metrics
    again = measure(run, {}, host="here", make_samplers=lambda: [Counting()])
    assert again is not None
    again.stop()
    assert list((run.folder.path / "live").iterdir()) == []


def test_a_process_that_was_killed_no_longer_keeps_others_from_measuring(tmp_path: Path, run: mltrack.Run) -> None:
    code = """
import os, signal, sys, time
import mltrack
mltrack.set_store(sys.argv[1])
run = mltrack.start_run(run_id=sys.argv[2], log_system_metrics=True)
print("measuring", flush=True)
time.sleep(100)
"""
    process = start_python(code, tmp_path / "s", run.run_id)
    assert process.stdout is not None
    assert process.stdout.readline() == "measuring\n"
    assert measure(run, {}) is None
    process.kill()
    process.communicate()
    measuring = measure(run, {})
    assert measuring is not None
    measuring.stop()


def test_a_resumed_run_continues_with_later_steps(run: mltrack.Run) -> None:
    first = measure(run, {"MLTRACK_SYSTEM_METRICS_INTERVAL": "0.01"}, make_samplers=lambda: [Counting()])
    assert first is not None
    wait_until(lambda: "system/cpu_utilization_percentage" in run.stored().data.metrics)
    first.stop()
    last = max(step for step, _ in values(run, "system/cpu_utilization_percentage"))
    time.sleep(0.05)  # a resume that comes sooner than an interval later may repeat a step
    again = measure(run, {"MLTRACK_SYSTEM_METRICS_INTERVAL": "0.01"}, make_samplers=lambda: [Counting()])
    assert again is not None
    again.stop()
    steps = [step for step, _ in values(run, "system/cpu_utilization_percentage")]
    assert len([step for step in steps if step > last]) >= 2
    assert steps == sorted(set(steps))


def test_a_forked_child_neither_measures_nor_ends_the_measuring(tmp_path: Path) -> None:
    code = """
import os, sys
import mltrack
mltrack.set_store(sys.argv[1])
run = mltrack.start_run(log_system_metrics=True)
if os.fork() == 0:
    mltrack.log_metric("child", 1.0)
    run.end()
    os._exit(0)
assert os.wait()[1] == 0
run.end()
print(run.run_id)
"""
    run = stored(tmp_path / "s", run_python(code, tmp_path / "s").strip())
    assert run.data.metrics["child"] == 1.0
    assert run.info.status == "FINISHED"
    (measurer,) = {writer for writer, piece in run.read_points() if any(k.startswith("system/") for k in piece.keys)}
    assert measurer == min(run.state.writers)


def test_importing_mltrack_and_starting_a_run_imports_no_psutil(tmp_path: Path) -> None:
    code = "import sys, mltrack; mltrack.set_store(sys.argv[1]); mltrack.start_run(); print('psutil' in sys.modules)"
    assert run_python(code, tmp_path / "s").strip() == "False"


def test_a_launched_program_is_measured_unless_disabled(tmp_path: Path) -> None:
    def launched(*options: str) -> set[str]:
        command = [sys.executable, "-m", "mltrack", "--store", str(tmp_path / "s"), "run", *options, "--", "true"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        run_id = max((tmp_path / "s" / "runs").iterdir(), key=lambda path: path.stat().st_mtime_ns).name
        return set(stored(tmp_path / "s", run_id).data.metrics)

    assert "system/disk_usage_percentage" in launched("--no-snapshot")
    assert launched("--no-snapshot", "--no-system-metrics") == set()
