"""How much memory and how many threads this process may still take, checked before NumPy and Arrow are used.

Where they run out these libraries don't raise: OpenBLAS ends the process, or interrupts it as Ctrl-C does, when NumPy
is imported with no room for its threads; C++ aborts.
"""

from __future__ import annotations

import os
import sys
import threading

__all__ = ["memory_shortage", "need_numpy"]

MIB = 1 << 20
SEAL_BYTES = 192 * MIB
"""The memory that sealing takes: a block of points in Arrow and NumPy, a few times over."""
ARROW_BYTES = 256 * MIB
"""What importing Arrow takes: mostly address space."""
NUMPY_BYTES = 64 * MIB
"""What importing NumPy takes for each processor: OpenBLAS starts a thread for each."""
THREADS_MAX = 128


def memory_shortage(*, numpy_only: bool = False) -> str | None:
    """Why NumPy and Arrow can't be used safely in this process; None where they can. ``numpy_only``: without Arrow."""
    loaded = "numpy" in sys.modules
    if loaded and numpy_only:
        return None
    threads = 0 if loaded else min(os.cpu_count() or 1, THREADS_MAX)
    needed = threads * NUMPY_BYTES
    if not numpy_only:
        needed += SEAL_BYTES + (0 if "pyarrow" in sys.modules else ARROW_BYTES)
    left = _bytes_left()
    if left is not None and left < needed:
        return f"{left // MIB} MiB of memory are left below its limit, {needed // MIB} MiB are needed"
    if threads and not _can_start(threads):
        return f"no {threads} threads can be started"
    return None


def need_numpy() -> None:
    """Called before a log call imports NumPy or a library that uses it.

    Raises:
        ImportError: there is too little memory or too few threads; importing NumPy could end the process.
    """
    shortage = memory_shortage(numpy_only=True)
    if shortage is not None:
        raise ImportError(shortage)


def _bytes_left() -> int | None:
    """Bytes this process may still take below its limits (``ulimit -v``, ``ulimit -d``); None without limits."""
    import resource

    sizes = {"address space": resource.RLIMIT_AS, "data": resource.RLIMIT_DATA}
    limits = {what: resource.getrlimit(limit)[0] for what, limit in sizes.items()}
    if all(limit == resource.RLIM_INFINITY for limit in limits.values()):
        return None
    try:
        with open("/proc/self/statm", "rb") as file:
            pages = file.read().split()
    except FileNotFoundError:  # not Linux
        return None
    used = {"address space": int(pages[0]), "data": int(pages[5])}
    page = resource.getpagesize()
    return min(limit - used[what] * page for what, limit in limits.items() if limit != resource.RLIM_INFINITY)


def _can_start(count: int) -> bool:
    """Whether ``count`` threads can be started at once; they end again before this returns."""
    gate = threading.Event()
    threads: list[threading.Thread] = []
    try:
        for _ in range(count):
            thread = threading.Thread(target=gate.wait, name="mltrack-headroom", daemon=True)
            thread.start()
            threads.append(thread)
    except (RuntimeError, MemoryError) as error:
        # Python 3.12.0 and 3.12.1 start no thread once the program's end has begun, however much room there is
        return "interpreter shutdown" in str(error)
    finally:
        gate.set()
        for thread in threads:
            thread.join()
    return True
