"""Histories of metrics on the remote, read ahead for the runs that are being compared, a limited number at a time."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from mltrack_sync.mlflow.plan.reconcile import point_rows

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from concurrent.futures import Future

    import numpy.typing as npt

    from mltrack_sync.mlflow.api.client import MlflowClient

__all__ = ["Histories"]


class Histories:
    """A run reads one history at a time; connections that no run needs are used to read ahead. Close it when done.

    No more than ``connections`` histories are being read, or held before they are taken. Safe to use from many threads.
    """

    def __init__(self, client: MlflowClient, *, page_rows: int, connections: int, runs: int) -> None:
        """``runs`` is how many are to be compared, each in a worker of its own while there is a connection for it."""
        self._client = client
        self._page_rows = page_rows
        self._pool = ThreadPoolExecutor(connections, thread_name_prefix="mltrack-history")
        self._spare = threading.Semaphore(max(0, connections - runs))
        self._waiting = max(0, runs - connections)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Stop reading, after finishing those that have begun."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def run_done(self) -> None:
        """Note that one run was compared: its connection goes to the next one, or to those that are left."""
        with self._lock:
            if self._waiting:
                self._waiting -= 1
            else:
                self._spare.release()

    def of(self, remote_id: str, keys: Sequence[str]) -> Generator[npt.NDArray[np.void]]:
        """The points of each of these metrics in turn, sorted, in the form of ``point_rows``.

        Raises:
            RemoteError: see mltrack_sync.errors.
        """
        left = deque(keys)
        ahead: deque[Future[npt.NDArray[np.void]]] = deque()  # each with a connection that no run needs
        try:
            while left or ahead:
                mine = None if ahead else left.popleft()
                while left and self._spare.acquire(blocking=False):
                    ahead.append(self._pool.submit(self._read, remote_id, left.popleft()))
                if mine is not None:
                    yield self._read(remote_id, mine)
                else:
                    rows = ahead[0].result()
                    ahead.popleft()
                    self._spare.release()
                    yield rows
        finally:
            for future in ahead:
                future.cancel()
                self._spare.release()

    def _read(self, remote_id: str, key: str) -> npt.NDArray[np.void]:
        pages = self._client.history(remote_id, key, self._page_rows)
        return np.sort(np.concatenate([point_rows(page.steps, page.times, page.values) for page in pages]))
