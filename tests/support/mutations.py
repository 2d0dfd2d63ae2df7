"""Records that were changed at random, and a source that is read whole: nothing but SourceError may come of them."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mltrack.importers.source import SourceError

if TYPE_CHECKING:
    from mltrack.importers.source import Source

__all__ = ["changed", "mutated", "read_whole"]


def mutated(chance: random.Random, records: Sequence[bytes]) -> list[bytes]:
    """A choice of records, some with a few bytes that were changed, removed or added."""
    chosen = chance.sample(records, min(25, len(records)))
    return [changed(chance, record) if chance.random() < 0.3 else record for record in chosen]


def changed(chance: random.Random, record: bytes) -> bytes:
    """It with a few bytes that were changed, removed or added."""
    data = bytearray(record)
    for _ in range(chance.choice([1, 1, 2, 5])):
        at, kind = chance.randrange(len(data) + 1), chance.random()
        if kind < 0.6 and at < len(data):
            data[at] = chance.randrange(256)
        elif kind < 0.8:
            del data[at : at + chance.randrange(1, 4)]
        else:
            data[at:at] = chance.randbytes(chance.randrange(1, 4))
    return bytes(data)


def read_whole(source: Source) -> int:
    """Read all points, values and files of all runs; returns how many there are."""
    found = 0
    for run in source.runs():
        with contextlib.suppress(SourceError):
            found += sum(batch.num_rows for batch in run.points())
        with contextlib.suppress(SourceError):
            found += sum(1 for _ in run.values())
        with contextlib.suppress(SourceError):
            for file in run.files():
                with file.open() as stream:
                    found += bool(stream.read())
    return found
