"""What a remote that is a store has of others than runs, as the ledger keeps it, and which store it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mltrack.entities import RunHead
    from mltrack_sync.ledger.runs import RunEntry

__all__ = ["StoreEntry", "differs_line", "run_lines", "store_line", "unit_line"]


@dataclass(slots=True)
class StoreEntry:
    """The remote's store id ("" before the first copy), and the token of each unit as it was last copied whole.

    ``differing`` has units that a comparison found different since they were copied, each with its files that have
    another content there: the next push to a store looks at their files, whatever the remote says it holds. What has
    another content is replaced only where that is asked for. Runs on a server may be among them, too.
    """

    store_id: str = ""
    units: dict[str, str] = field(default_factory=dict)
    differing: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def is_other(self, store_id: str) -> bool:
        """Whether what was known is about another store than this one."""
        return self.store_id not in ("", store_id)

    def apply(self, line: Mapping[str, Any]) -> None:
        """Take in a line of the ledger."""
        if line["type"] == "store":
            if self.is_other(line["store"]):
                self.units.clear()
                self.differing.clear()
            self.store_id = line["store"]
        elif line["type"] == "differs":
            self.differing.pop(line["unit"], None)
            if line["differs"]:
                self.differing[line["unit"]] = tuple(line.get("files", ()))
        else:
            self.units[line["unit"]] = line["token"]

    def lines(self) -> list[dict[str, Any]]:
        """The fewest lines that say the same."""
        first = [store_line(self.store_id)] if self.store_id else []
        units = [unit_line(unit, token) for unit, token in self.units.items()]
        differing = [differs_line(unit, differs=True, files=files) for unit, files in sorted(self.differing.items())]
        return first + units + differing


def store_line(store_id: str) -> dict[str, Any]:
    """The remote is this store. What was known of another one counts no longer."""
    return {"type": "store", "store": store_id}


def unit_line(unit: str, token: str) -> dict[str, Any]:
    """The remote has a unit as it was when it had this token."""
    return {"type": "unit", "unit": unit, "token": token}


def differs_line(unit: str, *, differs: bool, files: Sequence[str] = ()) -> dict[str, Any]:
    """A comparison found that the remote has not all of a unit that it had; or it has it again.

    ``files`` have another content there.
    """
    line = {"type": "differs", "unit": unit, "differs": differs}
    return line | {"files": list(files)} if files else line


def run_lines(head: RunHead, known: RunEntry, copied: RunEntry, *, settled: bool) -> list[dict[str, Any]]:
    """What was copied of a run: its positions and its files.

    Args:
        head: How far the run went before it was copied.
        known: What the ledger says already.
        copied: The positions and artifacts that the remote has now; others stay as they were known.
        settled: Whether nothing of the run, up to the head, is left to copy.
    """
    run_id = head.run_id
    if known == type(known)():  # all of it in one line
        head_seen = [head.events, head.points, head.live] if settled else []
        return replace(copied, remote_id=run_id, settled=head_seen).lines(run_id)
    lines: list[dict[str, Any]] = []
    if not known.remote_id:
        lines.append({"type": "run", "run": run_id, "remote": run_id, "experiment": "", "uri": ""})
    merged = type(known)(events={**known.events, **copied.events}, points={**known.points, **copied.points})
    if merged.positions() != known.positions():
        lines.append({"type": "ack", "run": run_id, "at": merged.positions()})
    lines += [
        {"type": "artifact", "run": run_id, "path": path, "sha256": sha256}
        for path, sha256 in copied.artifacts.items()
        if known.artifacts.get(path) != sha256
    ]
    if settled and not known.is_settled_at(head):
        lines.append({"type": "settled", "run": run_id, "head": [head.events, head.points, head.live]})
    return lines
