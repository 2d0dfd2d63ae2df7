"""One event of any sort, taken apart: its time, step, and what it holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mltrack.importers.protobuf import Fields, WireError
from mltrack.importers.tfevents.layouts import times_of
from mltrack.importers.tfevents.tensors import Tensor, tensor_of

if TYPE_CHECKING:
    from collections.abc import MutableMapping

__all__ = ["Event", "Item", "event_of"]

_SIMPLE = {3: "old histogram", 4: "image", 5: "histogram", 6: "audio"}
_PARTS = {4: "graph_def", 7: "session log", 8: "tagged_run_metadata", 9: "meta_graph_def"}
PLUGINS = {
    "scalars": "scalar",
    "histograms": "histogram",
    "images": "image",
    "text": "text",
    "audio": "audio",
    "hparams": "hparams",
}


@dataclass(frozen=True, slots=True)
class Item:
    """A thing in an event.

    Attributes:
        tag: Its name.
        kind: scalar, histogram, image, text, audio, hparams, graph_def, meta_graph_def, or what else it is.
        number: Of a scalar.
        tensor: Of what is stored as one.
        content: Of anything else: the bytes of its message, or of the plugin's data.
    """

    tag: str
    kind: str
    number: float = 0.0
    tensor: Tensor | None = None
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class Event:
    """An event; ``time`` is in ns since the epoch."""

    time: int
    step: int
    items: tuple[Item, ...]

    def of_kind(self, kind: str) -> Iterator[Item]:
        """Its items of a kind."""
        return (item for item in self.items if item.kind == kind)


def event_of(record: bytes, plugins: MutableMapping[str, str]) -> Event:
    """The event in a record.

    Args:
        record: Its bytes.
        plugins: The plugin of each name, which often only the first event says; added to.

    Raises:
        WireError: it is not an event.
    """
    fields = Fields(record)
    time = int(times_of(np.array([fields.double(1)]))[0])
    items: list[Item] = []
    for value in fields.inner(5).each(1):
        items.append(_item(value, plugins))
    for number, kind in _PARTS.items():
        if number in fields:
            items.append(Item(kind, kind, content=fields.content(number)))
    return Event(time, fields.integer(2), tuple(items))


def _item(value: Fields, plugins: MutableMapping[str, str]) -> Item:
    tag = value.text(1) or value.text(7)
    data = value.inner(9).inner(1)
    if data.text(1):
        plugins[tag] = data.text(1)
    plugin = plugins.get(tag, "")
    if plugin == "hparams":
        return Item(tag, "hparams", content=data.content(2))
    if 2 in value:
        return Item(tag, "scalar", number=value.single(2))
    if 8 in value:
        return _tensor_item(tag, plugin, value.inner(8))
    for number, kind in _SIMPLE.items():
        if number in value:
            return Item(tag, kind, content=value.content(number))
    return Item(tag, "value without content")


def _tensor_item(tag: str, plugin: str, fields: Fields) -> Item:
    kind = PLUGINS.get(plugin, f"value of the plugin {plugin}" if plugin else "tensor")
    try:
        tensor = tensor_of(fields)
    except WireError:
        if kind in PLUGINS.values():
            raise
        return Item(tag, kind)
    numbers: Any = tensor.numbers
    if kind in ("scalar", "tensor") and numbers is not None and numbers.size == 1:
        return Item(tag, "scalar", number=float(numbers.ravel()[0]))
    return Item(tag, kind if kind != "scalar" else "tensor", tensor=tensor)
