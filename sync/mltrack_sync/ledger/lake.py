"""What a remote that is a lake has of this store, as the ledger keeps it: the number of each table's last batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["LakeEntry", "lake_line"]


@dataclass(slots=True)
class LakeEntry:
    """By table, the number of the last batch that was committed to it. What was in it, the runs' own lines say.

    ``lake_id`` is the lake's own id; "" where it was not read yet, or the lake has none.
    """

    numbers: dict[str, int] = field(default_factory=dict)
    lake_id: str = ""

    def apply(self, line: Mapping[str, Any]) -> None:
        """Take in a line of the ledger."""
        self.numbers.update(line["numbers"])
        self.lake_id = line.get("lake", self.lake_id)

    def lines(self) -> list[dict[str, Any]]:
        """The fewest lines that say the same."""
        return [lake_line(self.numbers, self.lake_id)] if self.numbers or self.lake_id else []


def lake_line(numbers: Mapping[str, int], lake_id: str = "") -> dict[str, Any]:
    """The line that says that the lake has these batches, and which lake it is where that is given."""
    return {"type": "lake", "numbers": dict(numbers), **({"lake": lake_id} if lake_id else {})}
