"""What a remote has of traces, as the ledger keeps it: how far it has the facts, and single traces beyond."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["TraceEntry", "trace_line", "traces_line"]


@dataclass(slots=True)
class TraceEntry:
    """The remote has all facts before ``positions`` (by writer); of traces with later ones, ``done`` says which it has.

    ``sizes`` is how long the files of facts were then, in bytes: while they keep that size, none was added. ``done``
    holds a fingerprint of each such trace as it was when it was sent.
    """

    positions: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    done: dict[str, str] = field(default_factory=dict)

    def apply(self, line: Mapping[str, Any]) -> None:
        """Take in a line of the ledger."""
        if line["type"] == "trace":
            self.done[line["trace"]] = line["print"]
        else:
            self.positions = {writer: int(count) for writer, count in line["at"].items()}
            self.sizes = {name: int(size) for name, size in line["sizes"].items()}
            self.done = {}

    def lines(self) -> list[dict[str, Any]]:
        """The fewest lines that say the same."""
        found = [traces_line(self.positions, self.sizes)] if self.positions else []
        return found + [trace_line(trace_id, mark) for trace_id, mark in self.done.items()]


def traces_line(positions: Mapping[str, int], sizes: Mapping[str, int]) -> dict[str, Any]:
    """The line that says that the remote has all traces, as of these positions."""
    return {"type": "traces", "at": dict(positions), "sizes": dict(sizes)}


def trace_line(trace_id: str, mark: str) -> dict[str, Any]:
    """The line that says that the remote has one trace, as it was."""
    return {"type": "trace", "trace": trace_id, "print": mark}
