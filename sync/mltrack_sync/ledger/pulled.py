"""What was pulled of a remote's runs, as the ledger keeps it: how each looked, and where its long histories go on.

It only saves requests: without it a pull compares with the store, and brings nothing twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["FAILED", "Page", "PulledEntry", "page_lines"]


FAILED = -1

Page = tuple[int, str]
"""How many points of a metric are before the last page that was read, and the server's token for that page."""


@dataclass(slots=True)
class PulledEntry:
    """One run of the remote. ``run_id`` is what it is called here; ``fingerprint`` is "" until all of it was brought.

    ``ended``: it had come to its end when all of it was brought. ``files``: only files of up to so many bytes were
    wanted, and there were larger ones; FAILED where some could not be had.
    """

    run_id: str = ""
    fingerprint: str = ""
    ended: bool = False
    files: int | None = None
    pages: dict[str, Page] = field(default_factory=dict)

    def apply(self, line: Mapping[str, Any]) -> None:
        """Take in a line of the ledger."""
        self.run_id = line["run"]
        self.pages |= {key: (int(rows), str(token)) for key, (rows, token) in line.get("pages", {}).items()}
        if "print" in line:
            self.fingerprint, self.ended, self.files = line["print"], bool(line.get("ended")), line.get("files")

    def line(self, remote: str) -> dict[str, Any]:
        """The line that says all of it."""
        line: dict[str, Any] = {"type": "pulled", "run": self.run_id, "remote": remote}
        if self.pages:
            line["pages"] = {key: list(page) for key, page in self.pages.items()}
        if self.fingerprint:
            line |= {"print": self.fingerprint, "ended": self.ended}
            line |= {"files": self.files} if self.files is not None else {}
        return line


def page_lines(remote: str, run_id: str, pages: Mapping[str, Page]) -> dict[str, Any]:
    """The line that says where histories of a run go on."""
    return PulledEntry(run_id, pages=dict(pages)).line(remote)
