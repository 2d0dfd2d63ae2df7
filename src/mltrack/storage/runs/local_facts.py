"""What the store has of a run that comes from elsewhere: what was recorded or edited here is never overwritten."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mltrack.entities import Event
    from mltrack.storage.runs.stored_run import StoredRun

__all__ = ["LocalFacts", "LocalFile"]


class LocalFile(NamedTuple):
    """A file as the last event says. ``own``: it did not come from elsewhere; ``removed``: it was removed here."""

    writer: str
    size: int
    sha256: str
    own: bool
    removed: bool


@dataclass(slots=True)
class _Set:
    """By key, what the last event says, and whether it was set here."""

    values: dict[str, str | None] = field(default_factory=dict)
    own: set[str] = field(default_factory=set)

    def put(self, key: str, value: str | None, *, own: bool) -> None:
        self.values[key] = value
        (self.own.add if own else self.own.discard)(key)


class LocalFacts:
    """The facts of a run of the store, or of one that it does not have yet; as of when this was made."""

    def __init__(self, run_id: str, run: StoredRun | None, kind: str = "") -> None:
        """Read them.

        Args:
            run_id: The run's id.
            run: The run, or None.
            kind: Only what came from origins that begin so, up to a colon, is not this store's own; by default, what
                came from any.

        Raises:
            StoreError, CorruptionError: the run can't be read.
        """
        self.run_id = run_id
        self.run = run
        self.params: set[str] = set()
        self.tags = _Set()
        self.ending: tuple[str, int | None] | None = None
        self.stage = "active"
        self.files: dict[str, LocalFile] = {}
        self.last_time = 0
        self.origins: dict[str, str] = {}
        """Of writers whose facts came from elsewhere: from where."""

        self.has_stand_ins = False
        """Whether a writer stands in for the run's own (see stand_ins.py)."""

        self._own_ending = self._own_stage = False
        if run is None:
            return
        events = run.read_events()
        for event in events:
            if event.type == "writer" and event.fields.get("origin"):
                self.origins[event.writer] = str(event.fields["origin"])
                self.has_stand_ins = self.has_stand_ins or bool(event.fields.get("stand_in"))
        self.last_time = run.state.last_time
        for event in events:
            origin = self.origins.get(event.writer)
            self._apply(event, own=origin is None or kind not in ("", origin.partition(":")[0]))

    @property
    def exists(self) -> bool:
        """Whether the store has it."""
        return self.run is not None

    @property
    def is_own(self) -> bool:
        """Whether a process recorded it here, or in a store that this one was copied from."""
        if self.run is None:
            return False
        return any(writer.role in ("create", "resume") for writer in self.run.state.writers.values())

    @property
    def own_ending(self) -> bool:
        """Whether its status was set here."""
        return self._own_ending or self.is_own

    @property
    def own_stage(self) -> bool:
        """Whether it was deleted or restored here, last."""
        return self._own_stage

    def _apply(self, event: Event, *, own: bool) -> None:
        fields = event.fields
        match event.type:
            case "param":
                self.params.add(fields["key"])
            case "tag":
                self.tags.put(fields["key"], fields["value"], own=own)
            case "end" | "status":
                self.ending, self._own_ending = (fields["status"], fields.get("end_time")), own
            case "artifact":
                removed, size = bool(fields.get("deleted")), fields.get("size", 0)
                self.files[fields["path"]] = LocalFile(event.writer, size, fields.get("sha256", ""), own, removed)
            case "lifecycle":
                self.stage, self._own_stage = fields["stage"], own

    # --- what is new, as events ---

    def new_params(self, params: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """The params that the run does not have here."""
        for key, value in params.items():
            if key not in self.params:
                yield {"type": "param", "key": key, "value": value}

    def new_tags(self, tags: Mapping[str, str], first_stands: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
        """The tags that the run does not have here, or that changed elsewhere and not here.

        Those that are gone elsewhere are removed. Tags in ``first_stands`` are never changed.
        """
        known = self.tags.values
        for key, value in tags.items():
            if key not in known or (known[key] != value and key not in self.tags.own and key not in first_stands):
                yield {"type": "tag", "key": key, "value": value}
        for key in known.keys() - tags.keys() - self.tags.own:
            if known[key] is not None and key not in first_stands:
                yield {"type": "tag", "key": key, "value": None}

    def new_ending(self, status: str, end_time: int | None) -> dict[str, Any] | None:
        """Its status and end (in ns), unless that was set here."""
        if self.own_ending or self.ending == (status, end_time):
            return None
        event: dict[str, Any] = {"type": "status", "status": status}
        return event if end_time is None else event | {"end_time": end_time}

    def new_stage(self, stage: str) -> dict[str, Any] | None:
        """That it was deleted or restored, unless somebody did so here."""
        return None if self.stage == stage or self.own_stage else {"type": "lifecycle", "stage": stage}
