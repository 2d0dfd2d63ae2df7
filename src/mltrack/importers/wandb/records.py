"""Records of wandb's: what sort each one is, and where its content is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.importers.protobuf import BYTES, message, varint

if TYPE_CHECKING:
    from mltrack.importers.log_file import LogFile

__all__ = ["OTHER_SORTS", "Record", "record_of"]

HISTORY, SUMMARY, OUTPUT, CONFIG, STATS, ARTIFACT, METRIC, OUTPUT_RAW, RUN, EXIT = 2, 3, 4, 5, 7, 8, 12, 13, 17, 18
_SORTS = {HISTORY, SUMMARY, OUTPUT, CONFIG, STATS, ARTIFACT, METRIC, OUTPUT_RAW, RUN, EXIT}
OTHER_SORTS = {9: "links to TensorBoard folders", 10: "alerts", 25: "used artifacts"}
"""What has no place in a store."""

Record = tuple["LogFile", int, bytes, int, int]
"""The file it is in, its sort, its bytes, and where its content begins and ends."""


def record_of(data: bytes) -> tuple[int, int, int]:
    """What sort of record it is, by its number, and where its content begins and ends; 0 for none that is known.

    Raises:
        WireError: it is damaged.
    """
    at, end = 0, len(data)
    while at < end and data[at] == 8:
        _, at = varint(data, at + 1, end)
    if at < end and data[at] in (0x12, 0x1A):  # history and summary are nearly all
        size, start = varint(data, at + 1, end)
        if start + size <= end:
            return data[at] >> 3, start, start + size
    for number, wire, start, stop in message(data, at, end):
        if wire == BYTES and (number in _SORTS or number in OTHER_SORTS):
            return number, start, stop
    return 0, 0, 0
