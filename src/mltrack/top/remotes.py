"""What the sync pane shows of each remote. Packages that sync give it, by an entry point; no request is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mltrack.store import Store

__all__ = ["ENTRY_POINTS", "RejectedItem", "RemoteSource", "RemoteState", "remote_sources", "remote_states"]

ENTRY_POINTS = "mltrack.remote_states"
"""Entry points of this group name a ``RemoteSource``."""


@dataclass(frozen=True, slots=True)
class RejectedItem:
    """Something that a remote refused: of which run (empty for what belongs to none), what, its key, and why."""

    run_id: str
    kind: str
    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class RemoteState:
    """How far a remote is behind.

    Attributes:
        name: The remote's name.
        url: Its URL, without secrets.
        runs: How many runs have something that waits.
        points: How many points wait.
        files: How many files.
        file_bytes: Their size in bytes.
        lag_s: The age of the oldest of what waits, in seconds.
        points_per_s: The rate that the remote took points at, measured by a sync; 0 where it was not.
        last_sync: When the last sync ended, in ns since the epoch; 0 for never.
        last_error: What it failed with, if it did.
        last_error_time: When, in ns.
        background: What the process that pushes in the background does, if there is one.
        rejected: What the remote refused.
    """

    name: str
    url: str
    runs: int = 0
    points: int = 0
    files: int = 0
    file_bytes: int = 0
    lag_s: float = 0.0
    points_per_s: float = 0.0
    last_sync: int = 0
    last_error: str = ""
    last_error_time: int = 0
    background: str = ""
    rejected: tuple[RejectedItem, ...] = ()


class RemoteSource(Protocol):
    """Gives the states of the remotes of a store, from the store and its ledgers alone."""

    def __call__(self, store: Store, /) -> list[RemoteState]:
        """The states, in the order to show them."""


def remote_sources() -> list[RemoteSource]:
    """Those that are installed; one that can't be imported is left out, as `mltrack --help` names it."""
    from importlib.metadata import entry_points

    found: list[RemoteSource] = []
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            found.append(entry.load())
        except (ImportError, AttributeError):
            continue
    return found


def remote_states(store: Store) -> list[RemoteState]:
    """The states of all remotes.

    Raises:
        MltrackError, OSError: a ledger, or the file of the remotes, can't be read.
    """
    return [state for source in remote_sources() for state in source(store)]
