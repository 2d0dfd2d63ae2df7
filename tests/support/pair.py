"""A store and its remote, an MLflow server behind a proxy that spoils requests: what a test of a push needs, as one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mltrack.store import Store
from mltrack_sync import PushReport, Remote, push
from mltrack_sync.engine.verify import verify
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.remotes.ledgers import ledger_path
from mltrack_sync.report import VerifyReport
from mltrack_sync.status import RemoteStatus, status_of
from tests.support.both_sides import assert_equal
from tests.support.killing import killed_at_requests
from tests.support.proxy import Fault, FaultyProxy, LoseAnswer, Seen
from tests.support.server import MlflowServer
from tests.support.syncers import Syncers


@dataclass(frozen=True, slots=True)
class Pair:
    """``waits`` are the pauses that ``policy`` was asked for; it makes none."""

    store: Store
    server: MlflowServer
    proxy: FaultyProxy
    remote: Remote
    experiment: str
    policy: RetryPolicy
    waits: list[float]

    def push(self, **options: Any) -> PushReport:
        return push(self.store, self.remote, **{"policy": self.policy, **options})

    def verify(self, **options: Any) -> VerifyReport:
        return verify(self.store, self.remote, **options)

    def status(self) -> RemoteStatus:
        return status_of(self.store, self.remote)

    @property
    def ledger_path(self) -> Path:
        return ledger_path(self.store, self.remote)

    def assert_equal(self) -> None:
        """Each run is there once, with equal contents."""
        assert_equal(self.store, self.server, self.experiment)

    # --- faults ---

    def lose_first(self, end: str) -> None:
        """The first answer to a call whose path ends so is lost."""

        def fault(seen: Seen) -> Fault:
            return LoseAnswer() if seen.path.endswith(end) and seen.number == 1 else None

        self.proxy.fault = fault

    def heal(self) -> None:
        """From now on all requests pass."""
        self.proxy.fault = lambda seen: None

    def killed_at(self, syncers: Syncers, moments: list[tuple[int, bool]]) -> int:
        """Syncers killed at these requests (see killing); returns how many were."""
        return killed_at_requests(syncers, self.store, self.remote, self.proxy, moments)
