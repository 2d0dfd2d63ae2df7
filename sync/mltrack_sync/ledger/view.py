"""Reading a ledger while it grows: what planning asks it, under the lock that its writers hold."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from mltrack_sync.ledger.bundles import BundleEntries
from mltrack_sync.ledger.lake import LakeEntry
from mltrack_sync.ledger.stores import StoreEntry
from mltrack_sync.ledger.traces import TraceEntry

if TYPE_CHECKING:
    import threading
    from collections.abc import ItemsView, Iterator, Sequence, ValuesView

    from mltrack.errors import CorruptionError
    from mltrack_sync.ledger.experiments import ExperimentEntry
    from mltrack_sync.ledger.fallback import FallbackEntry
    from mltrack_sync.ledger.models import LoggedEntry
    from mltrack_sync.ledger.pulled import PulledEntry
    from mltrack_sync.ledger.registry import ModelEntry
    from mltrack_sync.ledger.runs import RunEntry
    from mltrack_sync.ledger.state import LedgerState
    from mltrack_sync.ledger.tables import TableEntry
    from mltrack_sync.report import Rejected

__all__ = ["LedgerView", "LockedView"]

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")


class LedgerView(Protocol):
    """What a ledger says, by kinds of things: of one that is open, or as its file was read. It can't be changed here.

    An entry that is got from it is that of one thing, and changes when what is sent of that thing is acknowledged.
    """

    @property
    def url(self) -> str:
        """Of the remote."""

    @property
    def runs(self) -> Mapping[str, RunEntry]:
        """By id."""

    @property
    def experiments(self) -> Mapping[str, ExperimentEntry]:
        """By id."""

    @property
    def models(self) -> Mapping[str, ModelEntry]:
        """Registered models, by name."""

    @property
    def logged(self) -> Mapping[str, LoggedEntry]:
        """Logged models, by id."""

    @property
    def fallbacks(self) -> Mapping[str, FallbackEntry]:
        """Where the files of logged models are that went to runs, by the models' ids."""

    @property
    def traces(self) -> TraceEntry:
        """As they are at the moment."""

    @property
    def tables(self) -> Mapping[tuple[str, str], TableEntry]:
        """Evaluation datasets, scorers and label schemas, by kind and key."""

    @property
    def records(self) -> Mapping[str, Mapping[str, str]]:
        """Of evaluation datasets, by their keys: fingerprints of records by the records' keys."""

    @property
    def pulled(self) -> Mapping[str, PulledEntry]:
        """Runs that were brought from the remote, by their ids there."""

    @property
    def gone(self) -> Set[tuple[str, str]]:
        """What was pulled and is gone from the remote, by kind and key, as it is at the moment."""

    @property
    def bundles(self) -> BundleEntries:
        """The bundles that were written for it."""

    @property
    def lake(self) -> LakeEntry:
        """Which batches a remote that is a lake has, as it is at the moment."""

    @property
    def copied(self) -> StoreEntry:
        """What a remote that is a store has of others than runs, as it is at the moment."""

    @property
    def rejected(self) -> Mapping[tuple[str, str, str], Rejected]:
        """What the remote does not take, by run, kind and key."""

    @property
    def last_pass(self) -> Mapping[str, Any]:
        """The last sync cycle that was completed."""

    @property
    def last_error(self) -> Mapping[str, Any]:
        """How the last one failed, if it did."""

    @property
    def damage(self) -> Sequence[CorruptionError]:
        """Lines that could not be read."""

    def damage_words(self) -> Iterator[str]:
        """These in words, with what is done about it."""


class LockedMapping(Mapping[K, V]):
    """A dictionary that others change meanwhile; what goes over it goes over what it held at that moment."""

    def __init__(self, held: dict[K, V], lock: threading.Lock) -> None:
        self._held = held
        self._lock = lock

    def __getitem__(self, key: K) -> V:
        with self._lock:
            return self._held[key]

    def get(self, key: K, default: D | None = None) -> V | D | None:  # type: ignore[override]
        with self._lock:
            return self._held.get(key, default)

    def __contains__(self, key: object) -> bool:
        with self._lock:
            return key in self._held

    def __len__(self) -> int:
        with self._lock:
            return len(self._held)

    def __iter__(self) -> Iterator[K]:
        return iter(self._copy())

    def items(self) -> ItemsView[K, V]:
        return self._copy().items()

    def values(self) -> ValuesView[V]:
        return self._copy().values()

    def _copy(self) -> dict[K, V]:
        with self._lock:
            return dict(self._held)


class LockedView:
    """A LedgerView of the state of a ledger that is open."""

    def __init__(self, state: LedgerState, lock: threading.Lock) -> None:
        self._state = state
        self._lock = lock
        self.runs = LockedMapping(state.runs, lock)
        self.experiments = LockedMapping(state.experiments, lock)
        self.models = LockedMapping(state.models, lock)
        self.logged = LockedMapping(state.logged, lock)
        self.fallbacks = LockedMapping(state.fallbacks, lock)
        self.tables = LockedMapping(state.tables, lock)
        self.records = LockedMapping(state.records, lock)
        self.pulled = LockedMapping(state.pulled, lock)
        self.rejected = LockedMapping(state.rejected, lock)

    @property
    def url(self) -> str:
        """Of the remote."""
        return self._state.url

    @property
    def traces(self) -> TraceEntry:
        """As they are at the moment."""
        with self._lock:
            held = self._state.traces
            return TraceEntry(dict(held.positions), dict(held.sizes), dict(held.done))

    @property
    def gone(self) -> Set[tuple[str, str]]:
        """What was pulled and is gone from the remote, by kind and key, as it is at the moment."""
        with self._lock:
            return set(self._state.gone)

    @property
    def bundles(self) -> BundleEntries:
        """The bundles that were written for it."""
        with self._lock:
            return BundleEntries(dict(self._state.bundles.by_number))

    @property
    def lake(self) -> LakeEntry:
        """Which batches a remote that is a lake has, as it is at the moment."""
        with self._lock:
            return LakeEntry(dict(self._state.lake.numbers), self._state.lake.lake_id)

    @property
    def copied(self) -> StoreEntry:
        """What a remote that is a store has of others than runs, as it is at the moment."""
        with self._lock:
            copied = self._state.copied
            return StoreEntry(copied.store_id, dict(copied.units), dict(copied.differing))

    @property
    def last_pass(self) -> Mapping[str, Any]:
        """The last sync cycle that was completed."""
        with self._lock:
            return dict(self._state.last_pass)

    @property
    def last_error(self) -> Mapping[str, Any]:
        """How the last one failed, if it did."""
        with self._lock:
            return dict(self._state.last_error)

    @property
    def damage(self) -> Sequence[CorruptionError]:
        """Lines that could not be read."""
        return tuple(self._state.damage)

    def damage_words(self) -> Iterator[str]:
        """These in words, with what is done about it."""
        return self._state.damage_words()
