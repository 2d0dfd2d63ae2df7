"""What can be measured on this host: the machine by psutil, its GPUs by NVML."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["GpuSampler", "MachineSampler", "Sampler", "host_samplers", "load_nvml"]

CPU_WINDOW_S = 0.05
"""The shortest time over which the processor's use is measured: five ticks of the kernel's clock."""


class Sampler(Protocol):
    """Measures something repeatedly: metric names, without their prefix, and values."""

    def sample(self) -> Mapping[str, float]:
        """The present values; what can't be measured is omitted."""


class MachineSampler:
    """Processor, memory, disk and network of this host, by psutil, as MLflow measures them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        import psutil

        self._psutil = psutil
        self._clock = clock
        self._cpu_since = clock()
        psutil.cpu_percent()  # the first call starts the interval that the next one measures
        network = psutil.net_io_counters()
        self._received, self._sent = (network.bytes_recv, network.bytes_sent) if network else (0, 0)

    def sample(self) -> Mapping[str, float]:
        """The host's load now; the network's traffic is counted from when this sampler was made."""
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
    """NVIDIA's library, initialized; None without it, or without a GPU."""
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
    """The GPUs of this host, by NVML (``pynvml``, or an object with its functions). A query that fails is omitted."""

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
