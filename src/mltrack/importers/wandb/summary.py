"""The summary of a run: of each item the last value counts, so only that is decoded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mltrack.importers.protobuf import BYTES, Fields, WireError, message

if TYPE_CHECKING:
    from mltrack.importers.wandb.facts import RunFacts

__all__ = ["Summary"]

ITEM, REMOVED = 1, 2
VALUE_FIELD = b"\x82\x01"


@dataclass(slots=True)
class Summary:
    """Collects SummaryRecords; ``settle`` puts what they say into the facts."""

    facts: RunFacts
    _items: dict[bytes, bytes] = field(default_factory=dict)
    """The last item of each key, by the bytes before its value."""

    def add(self, data: bytes, start: int, end: int) -> None:
        """Add a record.

        Raises:
            WireError, JsonError: it is damaged.
        """
        at, items = start, self._items
        while at < end and data[at] == 0x0A and at + 1 < end and data[at + 1] < 0x80:
            after = at + 2 + data[at + 1]
            item = data[at + 2 : after]
            items[item.partition(VALUE_FIELD)[0]] = item
            at = after
        if at > end:
            raise WireError(f"byte {at}: an item that goes on after the end of its record")
        for number, wire, first, last in message(data, at, end):
            if (number, wire) == (ITEM, BYTES):
                item = data[first:last]
                items[item.partition(VALUE_FIELD)[0]] = item
            elif (number, wire) == (REMOVED, BYTES):
                self.settle()
                self.facts.take_removed(self.facts.summary, Fields(data, first, last))

    def settle(self) -> None:
        """Put what was collected into the facts.

        Raises:
            WireError, JsonError: an item is damaged; the others are taken.
        """
        items, self._items = self._items, {}
        for number, item in enumerate(items.values()):
            try:
                self.facts.take_item(self.facts.summary, Fields(item))
            except ValueError:
                self._items = dict(list(items.items())[number + 1 :])
                raise
