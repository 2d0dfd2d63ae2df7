"""Traces that share requests: a server takes the spans of many in one request, and links many to a run at once.

It takes such a request as a whole or not at all. If it refuses, each of the traces is sent on its own, so that only
the one at fault is refused.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from mltrack_sync.errors import RemoteRefusedError, RemoteUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mltrack.storage.traces.traces import Trace

__all__ = ["ITS_OWN_FAULT", "TRACES_MAX", "Batch", "batches_of"]

TRACES_MAX = 100
"""How many traces share a request; MLflow links no more at once."""

ITS_OWN_FAULT = (500, 504)
"""A server's answers when it fails on one of the traces, or does not finish all in time."""


class Batch:
    """Traces for which a request is made once, by the first that needs it; others wait. Thread-safe."""

    def __init__(self, traces: Sequence[Trace], work: Callable[[Sequence[Trace]], frozenset[str]]) -> None:
        """``work`` returns the ids of the traces for which it succeeded."""
        self._traces = traces
        self._work = work
        self._lock = threading.Lock()
        self._done: frozenset[str] | None = None if len(traces) > 1 else frozenset()

    def done(self, trace_id: str) -> bool:
        """Whether it was done for that trace; if not, the caller must do it.

        Raises:
            RemoteError: the remote can't be asked now. The next call tries again.
        """
        with self._lock:
            if self._done is None:
                self._done = self._tried()
            return trace_id in self._done

    def _tried(self) -> frozenset[str]:
        try:
            return self._work(self._traces)
        except RemoteRefusedError:
            return frozenset()
        except RemoteUnavailableError as error:
            if error.status not in ITS_OWN_FAULT:
                raise
            return frozenset()


def batches_of(traces: Iterable[Trace], bytes_max: int) -> Iterator[tuple[Trace, ...]]:
    """The traces in batches of one experiment whose spans have about ``bytes_max`` together, or of one trace.

    One without spans is alone: it does not exist on the remote before its info is sent.
    """
    open_batches: dict[str, list[Trace]] = {}
    sizes: dict[str, int] = {}
    for trace in traces:
        if not trace.spans:
            yield (trace,)
            continue
        size = sum(place.size for place in {head.place for head in trace.spans.values()})
        batch = open_batches.setdefault(trace.experiment_id, [])
        total = sizes.get(trace.experiment_id, 0) + size
        if batch and (len(batch) == TRACES_MAX or total > bytes_max):
            yield tuple(batch)
            batch.clear()
            total = size
        batch.append(trace)
        sizes[trace.experiment_id] = total
    yield from map(tuple, open_batches.values())
