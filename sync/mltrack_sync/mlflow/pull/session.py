"""What the workers of one pull share: client, store, ledger, counts, and the wish to stop."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from mltrack.text.redaction import hide
from mltrack_sync.mlflow.api.capabilities import Features
from mltrack_sync.mlflow.api.readback import ComparedClient
from mltrack_sync.mlflow.cycle import CycleState
from mltrack_sync.mlflow.plan.origin import Origin
from mltrack_sync.stores.local_target import LocalTarget

if TYPE_CHECKING:
    from mltrack_sync.limits import Limits
    from mltrack_sync.mlflow.api.client import MlflowClient
    from mltrack_sync.mlflow.plan.batches import Refusal
    from mltrack_sync.remotes.kind import PullWork

__all__ = ["PullSession"]

LISTED_AGAIN_MAX = 200
"""The files of so many runs that ended lately are listed again in one pull."""

NOTED_MAX = 5
"""So many things of one kind are named in notes; others are counted."""


class PullSession(CycleState):
    """One pull in progress. Safe to use from many threads. Close it when done."""

    def __init__(self, work: PullWork, client: MlflowClient, limits: Limits) -> None:
        """``client`` speaks to the server, which gives as much at once as ``limits`` say."""
        super().__init__(work.options.stop)
        self.work = work
        self.store = work.store
        self.ledger = work.ledger
        self.options = work.options
        self.client = client
        self.read = ComparedClient(client.transport)
        self.limits = limits
        self.origin = Origin(work.remote.url)
        self.target = LocalTarget(work.store)
        self.features = Features(limits.unsupported)
        self.notes: list[str] = []
        self._listed_again = 0
        self._more_notes: Counter[str] = Counter()
        self._noted: Counter[str] = Counter()
        self.left_behind: Counter[str] = Counter()
        self.selected_runs: dict[str, str] = {}
        """The selected runs of the server by their ids there, each with its fingerprint."""

        self.listed_models: set[str] = set()
        """Ids of the logged models that the server lists in the selected experiments."""

        self.run_experiments: dict[str, str] = {}
        """By the same ids, the experiments there that they are in."""

        self.reader = ThreadPoolExecutor(work.options.jobs, thread_name_prefix="mltrack-history")
        """Reads pages of histories for all workers."""

    def close(self) -> None:
        """End the reading; pages in hand are finished."""
        self.reader.shutdown(wait=True, cancel_futures=True)

    def count(self, **counts: int) -> None:
        """Add to the counts of the report, and to what the progress shows."""
        self.add_counts(counts)
        self.options.progress.advanced(points=counts.get("points", 0), body=0)

    def may_list_again(self) -> bool:
        """Whether the files of one more run may be listed that looks as it did: so many in one pull at most."""
        with self._lock:
            self._listed_again += 1
            return self._listed_again <= LISTED_AGAIN_MAX

    def note(self, words: str) -> None:
        """A conflict, and how it was resolved."""
        with self._lock:
            self.notes.append(hide(words))

    def note_some(self, what: str, words: str) -> None:
        """A note of a kind of which there may be many: after the first few, only how many there are is said."""
        with self._lock:
            self._noted[what] += 1
            is_named = self._noted[what] <= NOTED_MAX
            if is_named:
                self.notes.append(hide(words))
            else:
                self._more_notes[what] += 1

    def all_notes(self) -> tuple[str, ...]:
        """All notes, with those that were only counted."""
        return (*self.notes, *(f"{what}: {count:,} more" for what, count in sorted(self._more_notes.items())))

    def left(self, what: str, count: int = 1) -> None:
        """Count something that the server has and that is not pulled."""
        with self._lock:
            self.left_behind[what] += count

    def reject(self, item: Refusal) -> None:
        """What the server refuses to hand out is asked for again with the next pull."""
        self.problem(f"{item.kind} {item.key}: {item.reason}")
