"""Syncers killed at chosen requests."""

from __future__ import annotations

import threading

from mltrack.store import Store
from mltrack_sync import Remote
from tests.support.proxy import Fault, FaultyProxy, LoseAnswer, Seen
from tests.support.syncers import Syncers


class Moment:
    """The n-th request from now: when it comes, before or after the server got it, the syncer is to die."""

    def __init__(self, proxy: FaultyProxy, count: int, *, answered: bool) -> None:
        self.reached, self.gone = threading.Event(), threading.Event()
        self._proxy = proxy
        self._at = len(proxy.seen) + count
        self._answered = answered

    def fault(self, seen: Seen) -> Fault:
        if len(self._proxy.seen) < self._at or self.gone.is_set():
            return None
        self.reached.set()
        if self._answered:
            return None
        self.gone.wait(30)  # the syncer dies while this is on its way; the server gets it all the same
        return LoseAnswer()


def killed_at_requests(
    syncers: Syncers, store: Store, remote: Remote, proxy: FaultyProxy, moments: list[tuple[int, bool]]
) -> int:
    """Start a syncer for each moment and kill it when that many requests came; returns how many were killed."""
    killed = 0
    for count, answered in moments:
        moment = Moment(proxy, count, answered=answered)
        proxy.fault = moment.fault
        syncers.start(store, remote)
        while not moment.reached.wait(0.01) and not syncers.ended.is_set():
            pass
        killed += syncers.kill()
        moment.gone.set()
        proxy.wait_idle()
    proxy.fault = lambda seen: None
    return killed
