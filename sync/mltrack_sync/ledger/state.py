"""The ledger, read: what a remote acknowledged, by kinds of things; and the fewest lines that say the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mltrack.disk.jsonlog import BYTE, read_log
from mltrack.disk.sync_line_types import LEDGER
from mltrack.text.redaction import hide
from mltrack_sync.ledger.bundles import BundleEntries
from mltrack_sync.ledger.experiments import ExperimentEntry
from mltrack_sync.ledger.fallback import FallbackEntry
from mltrack_sync.ledger.lake import LakeEntry
from mltrack_sync.ledger.models import LoggedEntry
from mltrack_sync.ledger.pulled import PulledEntry
from mltrack_sync.ledger.registry import ModelEntry
from mltrack_sync.ledger.runs import RunEntry
from mltrack_sync.ledger.stores import StoreEntry
from mltrack_sync.ledger.tables import RECORDS_A_LINE, TableEntry, apply_records, records_lines, table_line
from mltrack_sync.ledger.traces import TraceEntry
from mltrack_sync.report import Rejected

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mltrack.errors import CorruptionError

__all__ = ["VERSION", "LedgerState", "cleared_line", "gone_line", "rejected_line"]

VERSION = 1
COMPACT_LINES_MIN = 1000
COMPACT_FACTOR = 2


MEASURED_POINTS_MIN = 1_000


@dataclass(slots=True)
class LedgerState:
    """The ledger, read."""

    url: str = ""
    runs: dict[str, RunEntry] = field(default_factory=dict)
    experiments: dict[str, ExperimentEntry] = field(default_factory=dict)
    models: dict[str, ModelEntry] = field(default_factory=dict)
    logged: dict[str, LoggedEntry] = field(default_factory=dict)
    fallbacks: dict[str, FallbackEntry] = field(default_factory=dict)
    traces: TraceEntry = field(default_factory=TraceEntry)
    tables: dict[tuple[str, str], TableEntry] = field(default_factory=dict)
    """Evaluation datasets, scorers and label schemas, by kind and key."""

    records: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of evaluation datasets, by their keys: fingerprints of records by the records' keys."""

    pulled: dict[str, PulledEntry] = field(default_factory=dict)
    """By the run's id on the remote."""

    gone: set[tuple[str, str]] = field(default_factory=set)
    """Kind and key (an id there, or a name) of what was pulled, and was then found to be gone from the remote."""

    copied: StoreEntry = field(default_factory=StoreEntry)
    bundles: BundleEntries = field(default_factory=BundleEntries)
    lake: LakeEntry = field(default_factory=LakeEntry)
    rejected: dict[tuple[str, str, str], Rejected] = field(default_factory=dict)
    last_pass: dict[str, Any] = field(default_factory=dict)
    measured_pass: dict[str, Any] = field(default_factory=dict)
    """The last one that sent enough points to tell the remote's rate by it."""

    last_error: dict[str, Any] = field(default_factory=dict)
    damage: list[CorruptionError] = field(default_factory=list)
    lines: int = 0
    unknown: list[dict[str, Any]] = field(default_factory=list)
    """Lines of types that are not known here: a newer mltrack has written them."""

    @property
    def points_per_s(self) -> float:
        """The rate that the remote took points at when it was measured last; 0 where it was not."""
        return self.measured_pass["points"] / self.measured_pass["seconds"] if self.measured_pass else 0.0

    @classmethod
    def read(cls, path: Path, url: str = "") -> LedgerState:
        """What the file says; after damage, everything not surely acknowledged is in doubt.

        The ledger of another server than the one at ``url`` counts as empty.
        """
        state = cls()
        read = read_log(path, records=LEDGER)
        for line in read.lines:
            line.pop(BYTE, None)
            state.apply(line)
        if url and state.url not in ("", url):
            return cls()
        state.damage = read.damage
        if read.damage:
            for entry in state.runs.values():
                entry.doubt_all = True
                entry.settled = []
            for logged in state.logged.values():
                logged.settled = 0
            for fallback in state.fallbacks.values():
                fallback.settled = 0
        return state

    def apply(self, line: Mapping[str, Any]) -> None:
        """Take in one line. Lines of a type not known here change nothing."""
        self.lines += 1
        if line.get("type") not in LEDGER.types:
            self.unknown.append(dict(line))
            return
        match line.get("type"):
            case "ledger":
                self.url = str(line.get("url", ""))
            case "experiment":
                self.experiments[line["local"]] = ExperimentEntry.of(line)
            case "pass":
                self.last_pass, self.last_error = dict(line), {}
                if line.get("points", 0) >= MEASURED_POINTS_MIN and line.get("seconds", 0) > 0:
                    self.measured_pass = self.last_pass
            case "error":
                self.last_error = {**line, "message": hide(str(line.get("message", "")))}
            case "rejected":
                item = Rejected(line["run"], line["kind"], line["key"], hide(line["reason"]), line.get("points", 0))
                self.rejected[(item.run_id, item.kind, item.key)] = item
            case "cleared":
                self.rejected.pop((line["run"], line["kind"], line["key"]), None)
            case "model" | "model_version":
                self.models.setdefault(line["model"], ModelEntry()).apply(line)
            case "model_renamed":
                if line["model"] in self.models:
                    self.models[line["to"]] = self.models.pop(line["model"])
            case "gone":
                (self.gone.add if line["gone"] else self.gone.discard)((line["kind"], line["key"]))
            case "logged_model" | "logged_model_state" | "logged_model_file":
                self.logged.setdefault(line["model"], LoggedEntry()).apply(line)
            case "model_forgotten":
                self.models.pop(line["model"], None)
            case "logged_model_forgotten":
                self.logged.pop(line["model"], None)
            case "in_run" | "in_run_file" | "in_run_settled":
                self.fallbacks.setdefault(line["model"], FallbackEntry()).apply(line)
            case "forgotten":
                self.runs.pop(line["run"], None)
            case "replace":
                self.run(line["run"]).apply(line)
                for model_id in [one for one, fallback in self.fallbacks.items() if fallback.of == line["run"]]:
                    del self.fallbacks[model_id]
            case "trace" | "traces":
                self.traces.apply(line)
            case "table":
                self.tables[line["kind"], line["key"]] = TableEntry.of(line)
            case "table_records":
                apply_records(line, self.records)
            case "pulled":
                self.pulled.setdefault(line["remote"], PulledEntry()).apply(line)
            case "store" | "unit" | "differs":
                if line["type"] == "store" and self.copied.is_other(line["store"]):
                    self.runs.clear()
                self.copied.apply(line)
            case "bundle":
                self.bundles.apply(line)
            case "lake":
                self.lake.apply(line)
            case _ if "run" in line:
                self.run(line["run"]).apply(line)

    def run(self, run_id: str) -> RunEntry:
        """What the remote has of a run; an empty entry, which is kept, when nothing."""
        entry = self.runs.get(run_id)
        if entry is None:
            entry = self.runs[run_id] = RunEntry()
        return entry

    def damage_words(self) -> Iterator[str]:
        """The damage of the ledger, in words, with what is done about it."""
        for damage in self.damage:
            yield (
                f"{damage}; the other lines count, and sync compares with the remote what this one may have said,"
                " then rewrites the ledger: nothing is lost, and you need not do anything"
            )

    @property
    def is_long(self) -> bool:
        """Whether it was read from, or grew to, many more lines than it takes to say the same.

        Never one with lines that are not known here: they would lose their places among the others.
        """
        if self.unknown:
            return False
        registered = sum(1 + len(model.versions) for model in self.models.values())
        logged = sum(2 + len(model.artifacts) for model in self.logged.values())
        logged += sum(2 + len(model.artifacts) for model in self.fallbacks.values())
        least = (
            len(self.runs)
            + registered
            + logged
            + len(self.rejected)
            + len(self.experiments)
            + len(self.traces.done)
            + len(self.tables)
            + sum(len(held) // RECORDS_A_LINE + 1 for held in self.records.values())
            + len(self.pulled)
            + len(self.gone)
            + len(self.copied.units)
            + len(self.copied.differing)
            + len(self.bundles.by_number)
        )
        return self.lines > COMPACT_LINES_MIN + COMPACT_FACTOR * least

    def compacted(self) -> list[dict[str, Any]]:
        """The fewest lines that say the same; those that are not known here are the last."""
        lines: list[dict[str, Any]] = [{"type": "ledger", "version": VERSION, "url": self.url}]
        lines += self.bundles.lines()
        lines += self.lake.lines()
        lines += self.copied.lines()  # before the runs: another store's line forgets them
        lines += [experiment.line(local) for local, experiment in self.experiments.items()]
        lines += [line for run_id, entry in self.runs.items() for line in entry.lines(run_id)]
        lines += [line for name, model in self.models.items() for line in model.lines(name)]
        lines += [line for model_id, logged in self.logged.items() for line in logged.lines(model_id)]
        lines += [line for model_id, fallback in self.fallbacks.items() for line in fallback.lines(model_id)]
        lines += self.traces.lines()
        lines += [table_line(kind, key, entry) for (kind, key), entry in self.tables.items()]
        lines += records_lines(self.records)
        lines += [pulled.line(remote) for remote, pulled in self.pulled.items()]
        lines += [gone_line(kind, key, gone=True) for kind, key in sorted(self.gone)]
        lines += [rejected_line(item) for item in self.rejected.values()]
        measured = {} if self.measured_pass == self.last_pass else self.measured_pass
        return lines + [line for line in (measured, self.last_pass, self.last_error) if line] + self.unknown


def rejected_line(item: Rejected) -> dict[str, Any]:
    """The line that says that something is rejected."""
    return {
        "type": "rejected",
        "run": item.run_id,
        "kind": item.kind,
        "key": item.key,
        "reason": hide(item.reason),
        "points": item.points,
    }


def gone_line(kind: str, key: str, *, gone: bool) -> dict[str, Any]:
    """The line that says that something is gone from the remote, or there again."""
    return {"type": "gone", "kind": kind, "key": key, "gone": gone}


def cleared_line(item: Rejected) -> dict[str, Any]:
    """The line that says that it is so no longer."""
    return {"type": "cleared", "run": item.run_id, "kind": item.kind, "key": item.key}
