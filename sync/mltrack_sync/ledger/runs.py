"""What a remote has of one run, as the ledger keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mltrack.entities import ACTIVE

if TYPE_CHECKING:
    from mltrack.entities import RunHead

__all__ = ["EVERYTHING", "RunEntry", "Sampled"]

EVERYTHING = "*"


@dataclass(frozen=True, slots=True)
class Sampled:
    """How a run's points go, where not all of them do.

    Attributes:
        history: How many points of a metric go (see mlflow/plan/sampling.py); 0 for all.
        whole: By writer, the seq before which all points had gone when a sample was asked for.
        ended: By writer, how many points it had when what goes at its end was chosen; its position is then one more.
        mixed: More may be on the remote than the choice: it was made in another way before, or a writer that seemed to
            have ended went on.
        pinned: The run itself says its history, whatever the remote's setting is.
    """

    history: int = 0
    whole: Mapping[str, int] = field(default_factory=dict)
    ended: Mapping[str, int] = field(default_factory=dict)
    mixed: bool = False
    pinned: bool = False

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> Sampled:
        """From a line of the ledger."""
        return cls(
            line["history"],
            dict(line.get("whole", {})),
            dict(line.get("ended", {})),
            line.get("mixed", False),
            line.get("pinned", False),
        )

    def fields(self) -> dict[str, Any]:
        """As it is in a line of the ledger."""
        more = {"whole": self.whole, "ended": self.ended, "mixed": self.mixed, "pinned": self.pinned}
        return {"history": self.history, **{key: value for key, value in more.items() if value}}


@dataclass(slots=True)
class RunEntry:
    """What the remote has of one run. ``doubt`` is how far a request went that may have arrived, by writer.

    ``rewinds`` were in force when its points went. ``former`` are the ids of runs on the remote that it had before and
    that are still to be deleted there, ``replaced`` those that were deleted.
    """

    remote_id: str = ""
    experiment_id: str = ""
    artifact_uri: str = ""
    creating: bool = False
    events: dict[str, int] = field(default_factory=dict)
    points: dict[str, int] = field(default_factory=dict)
    doubt: dict[str, int] = field(default_factory=dict)
    doubt_all: bool = False
    artifacts: dict[str, str] = field(default_factory=dict)
    ended: list[Any] = field(default_factory=list)
    stage: str = ACTIVE
    settled: list[Any] = field(default_factory=list)
    linked: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    sampled: Sampled = field(default_factory=Sampled)
    rewinds: list[str] = field(default_factory=list)
    former: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)

    def apply(self, line: Mapping[str, Any]) -> None:
        """Take in a line of the ledger."""
        match line["type"]:
            case "create":
                self.creating = True
            case "run":
                self.creating = False
                self.remote_id, self.experiment_id = line["remote"], line["experiment"]
                self.artifact_uri = line["uri"]
                self.doubt_all = bool(line.get("adopted"))
                if not self.doubt_all:  # a new run is empty, whatever was known of a former one
                    self.events, self.points, self.artifacts, self.sampled = {}, {}, {}, Sampled()
                    self.rewinds = []
            case "ack":
                self._acknowledged(line)
            case "entry":
                self.remote_id, self.experiment_id = line["remote"], line["experiment"]
                self.artifact_uri = line["uri"]
                self._acknowledged(line)
                self.artifacts = dict(line.get("artifacts", {}))
                self.ended, self.settled = line.get("ended", []), line.get("settled", [])
                self.stage = line.get("stage", ACTIVE)
                self.linked, self.lacking = line.get("linked", []), line.get("lacking", [])
                self.sampled = Sampled.of(line["sampled"]) if "sampled" in line else Sampled()
                self.rewinds = line.get("rewinds", [])
                self.former, self.replaced = line.get("former", []), line.get("replaced", [])
            case "rewinds":
                self.rewinds = line["rewinds"]
            case "replace":
                self._replace(line["former"], line["replaced"])
            case "former_deleted":
                self.former = [one for one in self.former if one != line["remote"]]
                self.replaced = [*self.replaced, line["remote"]]
            case "sampled":
                self.sampled = Sampled.of(line)
            case "linked":
                self.linked, self.lacking = line["linked"], line["lacking"]
            case "artifact":
                self.artifacts[line["path"]] = line["sha256"]
            case "ended":
                self.ended = line["as"]
            case "stage":
                self.stage = line["stage"]
            case "settled":
                self.settled = line["head"]

    def _replace(self, former: list[str], replaced: list[str]) -> None:
        """Become an entry of which the remote has nothing."""
        fresh = RunEntry(former=former, replaced=replaced)
        for name in fresh.__slots__:
            setattr(self, name, getattr(fresh, name))

    def _acknowledged(self, line: Mapping[str, Any]) -> None:
        """Take in how far the remote has events and points, and what is in doubt."""
        for writer, (events, points) in line["at"].items():
            self.events[writer], self.points[writer] = events, points
        if line["type"] == "ack" and line.get("history", 0) != self.sampled.history:  # the line that said so is damaged
            self.sampled = Sampled(line.get("history", 0), mixed=True)
        following = line.get("next", {})
        self.doubt_all = following == EVERYTHING
        self.doubt = {} if self.doubt_all else dict(following)

    def is_settled_at(self, head: RunHead) -> bool:
        """Whether nothing was written since all was sent."""
        return self.settled == [head.events, head.points, head.live]

    def positions(self) -> dict[str, list[int]]:
        """How far the remote has events and points, by writer."""
        writers = {**self.events, **self.points}
        return {writer: [self.events.get(writer, 0), self.points.get(writer, 0)] for writer in writers}

    def lines(self, run_id: str) -> list[dict[str, Any]]:
        """The fewest lines that say the same."""
        if not self.remote_id:
            former = {"type": "replace", "run": run_id, "former": self.former, "replaced": self.replaced}
            known = [former] if self.former or self.replaced else []
            return [*known, {"type": "create", "run": run_id}] if self.creating else known
        line: dict[str, Any] = {
            "type": "entry",
            "run": run_id,
            "remote": self.remote_id,
            "experiment": self.experiment_id,
            "uri": self.artifact_uri,
            "at": self.positions(),
            "next": EVERYTHING if self.doubt_all else self.doubt,
            "artifacts": self.artifacts,
            "ended": self.ended,
            "stage": "" if self.stage == ACTIVE else self.stage,
            "settled": self.settled,
            "linked": self.linked,
            "lacking": self.lacking,
            "sampled": self.sampled.fields() if self.sampled != Sampled() else None,
            "rewinds": self.rewinds,
            "former": self.former,
            "replaced": self.replaced,
        }
        return [{key: value for key, value in line.items() if value or key in ("experiment", "uri", "at")}]
