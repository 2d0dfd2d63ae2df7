"""Facts about the machine that a program runs on, and the environment variables that matter to it."""

from __future__ import annotations

import os
import platform
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mltrack.process.secret_patterns import Redactor

__all__ = ["machine_facts", "variables"]

_VARIABLES = (
    *(
        "CUDA_",
        "NVIDIA_",
        "HIP_",
        "ROCR_",
        "NCCL_",
        "OMP_",
        "MKL_",
        "OPENBLAS_",
        "TORCH_",
        "TF_",
        "XLA_",
        "JAX_",
        "KERAS_",
    ),
    *("SLURM_", "PBS_", "LSB_", "SGE_", "RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "PYTHON"),
    *(
        "CONDA_DEFAULT_ENV",
        "HF_HOME",
        "HF_HUB_OFFLINE",
        "TRANSFORMERS_",
        "WANDB_MODE",
        "TOKENIZERS_PARALLELISM",
        "LANG",
    ),
)
"""Prefixes of the variables that affect a training; others are not recorded."""


def machine_facts() -> dict[str, Any]:
    """Host, system, processors, memory in bytes, GPUs."""
    import psutil

    return {
        "host": socket.gethostname(),
        "system": platform.platform(),
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "cpus": psutil.cpu_count(logical=False) or os.cpu_count() or 1,
        "cpu_threads": os.cpu_count() or 1,
        "cpus_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory": psutil.virtual_memory().total,
        "gpus": _gpus(),
    }


def variables(environment: Mapping[str, str], redactor: Redactor) -> dict[str, str]:
    """The environment variables that matter to a training, without secrets."""
    return {
        name: redactor.value(name, value) for name, value in sorted(environment.items()) if name.startswith(_VARIABLES)
    }


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def _gpus() -> list[dict[str, Any]]:
    """Names and memory (bytes) of the GPUs known to NVML; none without NVML."""
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        found = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            name = pynvml.nvmlDeviceGetName(handle)
            found.append(
                {
                    "name": name.decode() if isinstance(name, bytes) else str(name),
                    "memory": int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
                }
            )
        return found
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()
