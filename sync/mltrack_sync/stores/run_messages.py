"""Messages with many small runs each: their snapshots as the head, and what is in their files as the data.

They are there from version 2 of the protocol on. As everything that comes from the other side, they are checked: how
much data there is follows from the sizes in the head, and must be what came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mltrack.errors import MltrackError
from mltrack_sync.stores.complete_runs import RUN_BYTES_MAX, file_sizes, is_small
from mltrack_sync.stores.failures import decode_failure, encode_failure
from mltrack_sync.stores.fields import Fields, bad
from mltrack_sync.stores.frames import DATA_BYTES_MAX
from mltrack_sync.stores.messages import (
    GROUP_CHARS,
    ITEMS_PER_MESSAGE,
    decode_applied,
    decode_snapshot_head,
    encode_applied,
    encode_snapshot_head,
)
from mltrack_sync.stores.transfer import CompleteRun

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mltrack_sync.stores.frames import Frame
    from mltrack_sync.stores.transfer import Applied

__all__ = ["decode_outcomes", "decode_runs", "encode_outcomes", "encode_runs"]

MESSAGE_BYTES = 128 << 10
"""A message is sent once it has so much; a run goes into one message."""

assert MESSAGE_BYTES + RUN_BYTES_MAX <= DATA_BYTES_MAX


def encode_runs(runs: Iterable[CompleteRun | None]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Runs in their order, None for one that is not sent so."""
    heads: list[dict[str, Any] | None] = []
    data: list[bytes] = []
    size = chars = 0
    for run in runs:
        if run is None:
            heads.append(None)
        else:
            heads.append(encode_snapshot_head(run.snapshot))
            data += run.contents.values()
            size += run.size
            chars += sum(len(state.path) + 150 for state in run.snapshot.files)
        if size >= MESSAGE_BYTES or chars >= GROUP_CHARS or len(heads) == ITEMS_PER_MESSAGE:
            yield {"runs": heads}, b"".join(data)
            heads, data, size, chars = [], [], 0, 0
    if heads:
        yield {"runs": heads}, b"".join(data)


def decode_runs(frame: Frame) -> list[CompleteRun | None]:
    """The runs in one message.

    Raises:
        TransferError: it holds something else.
    """
    found: list[CompleteRun | None] = []
    at = 0
    for head in Fields(frame.head).items("runs", ITEMS_PER_MESSAGE):
        if head is None:
            found.append(None)
            continue
        if not isinstance(head, dict):
            raise bad("a run")
        snapshot = decode_snapshot_head(head)
        if not is_small(snapshot):
            raise bad(f"{snapshot.unit} as a small run")
        contents = {}
        for path, size in file_sizes(snapshot).items():
            contents[path] = frame.data[at : at + size]
            at += size
        found.append(CompleteRun(snapshot, contents))
    if at != len(frame.data):
        raise bad("runs with other sizes than they should have")
    return found


def encode_outcomes(outcomes: Sequence[Applied | MltrackError]) -> Iterator[dict[str, Any]]:
    """What came of runs, in their order."""
    for at in range(0, len(outcomes), ITEMS_PER_MESSAGE):
        yield {
            "outcomes": [
                encode_failure(outcome) if isinstance(outcome, MltrackError) else _encode_short(outcome)
                for outcome in outcomes[at : at + ITEMS_PER_MESSAGE]
            ]
        }


def _encode_short(applied: Applied) -> dict[str, Any]:
    return {
        name: value for name, value in encode_applied(applied).items() if value or name not in ("notes", "problems")
    }


def decode_outcomes(head: dict[str, Any], sent: Sequence[tuple[str, str]], where: str) -> list[Applied | MltrackError]:
    """What came of the next of the runs that were sent, given as units and tokens.

    Raises:
        TransferError: it does not say so, or speaks of other runs.
    """
    items = Fields(head).items("outcomes", ITEMS_PER_MESSAGE)
    if len(items) > len(sent):
        raise bad("what came of more runs than it got")
    found: list[Applied | MltrackError] = []
    for item, (unit, token) in zip(items, sent, strict=False):
        if not isinstance(item, dict):
            raise bad("what came of a run")
        if "error" in item:
            found.append(decode_failure(item, where))
            continue
        applied = decode_applied({"notes": [], "problems": [], **item})
        if applied.unit != unit or applied.token != token:
            raise bad(f"what came of {applied.unit} where {unit} was sent")
        found.append(applied)
    return found
