"""Storing a run's series as artifacts: a table for each, in the layout in which MLflow's UI shows tables.

mltrack itself reads the journals; the tables are for remotes and tools that take only artifacts. An event ``series``
says how far the tables cover each journal.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from mltrack.disk.artifact_files import Stored, adopt_file, hash_file, run_lock
from mltrack.disk.codec import LINE_BYTES_MAX, BadLine, decode_line
from mltrack.disk.filesystem import TEMPORARY, NotRegularError, reading
from mltrack.disk.line_types import SERIES
from mltrack.disk.locks import file_lock
from mltrack.errors import BusyError
from mltrack.journal.recorder import Recorder
from mltrack.journal.rich_series import SERIES_FOLDER, journals, read_lines
from mltrack.storage.runs.state import RunState
from mltrack.values.media import TABLES_TAG, tables_tag
from mltrack.values.rich import Histogram, Table, Text, decode_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from mltrack.disk.layout import Layout, RunFolder
    from mltrack.entities import Event
    from mltrack.storage.runs.visibility import Visibility

__all__ = ["finish_series", "publish_series", "unpublished_series"]

LOCK_WAIT_S = 30.0
"""How long to wait for another process that makes the same artifacts; then both do, and the last ones are kept."""

KEY_BYTES_MAX = 200

_TROUBLE = re.compile(r"[^\w .()=/-]")


class _Place(NamedTuple):
    """The place of a line: its file and byte, and its step."""

    order: tuple[int, str, int]
    path: Path
    offset: int
    step: int


def publish_series(recorder: Recorder) -> None:
    """Store all that the journals of the recorder's run hold now as artifacts.

    Raises:
        OSError: they can't be read, or the artifacts can't be written.
    """
    folder = recorder.folder
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(BusyError, OSError):
            stack.enter_context(file_lock(folder.path / SERIES_FOLDER / ".lock", timeout_s=LOCK_WAIT_S))
        state = RunState(folder)
        state.update()
        held = {artifact.path: artifact.sha256 for artifact in state.artifacts}
        series, ends = _index(folder)
        visibility = state.visibility
        made: list[str] = []
        for (kind, key), places in sorted(series.items()):
            name = table_name(kind, key)
            made.append(name)
            temporary = folder.path / SERIES_FOLDER / f".{os.getpid()}{TEMPORARY}"
            try:
                places.sort()
                _write_table(temporary, places, places if visibility is None else _counting(places, visibility))
                if held.get(name) == hash_file(temporary)[1]:
                    continue
                adopt_file(
                    temporary, folder.artifacts, name, note=lambda stored: _note(recorder, stored), fs=recorder.fs
                )
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary)
        with run_lock(folder.artifacts, "tables", timeout_s=LOCK_WAIT_S):
            state.update()
            tag = tables_tag(state.tags.get(TABLES_TAG), sorted(made, key=lambda name: "/histograms/" in name))
            if tag != state.tags.get(TABLES_TAG):
                recorder.emit({"type": "tag", "key": TABLES_TAG, "value": tag})
        recorder.emit({"type": "series", "published": ends})


def _note(recorder: Recorder, stored: Stored) -> None:
    recorder.emit({"type": "artifact", "path": stored.path, "size": stored.size, "sha256": stored.sha256})


def unpublished_series(folder: RunFolder) -> bool:
    """Whether the run's journals have lines that are not in artifacts yet, as after a crash."""
    found = journals(folder.path)
    if not found:
        return False
    published: dict[str, int] = {}
    rewound = False  # since then: the tables have lines that no longer count, or lack some that do again
    for event in RunState(folder).update():
        if event.type == "series":
            published |= event.fields.get("published", {})
            rewound = False
        rewound = rewound or event.type == "undo_rewind" or (event.type == "rewind" and _concerns_series(event))
    return (rewound and bool(published)) or any(
        path.stat().st_size > published.get(path.stem, 0) and _end(path) > published.get(path.stem, 0) for path in found
    )


def _concerns_series(event: Event) -> bool:
    return any(lines for _, _, lines in event.fields["at"].values())


def finish_series(layout: Layout, run_id: str) -> bool:
    """Store the series that a crashed process left as artifacts; False if there was nothing, or the run is live.

    Raises:
        StoreError, OSError: the store can't be written.
    """
    folder = layout.run(run_id)
    if not unpublished_series(folder):
        return False
    state = RunState(folder)
    state.update()
    if state.live:
        return False
    recorder = Recorder(layout, folder, "edit", not_before=state.last_time)
    try:
        recorder.start([])
        publish_series(recorder)
    finally:
        recorder.close()
    return True


def table_name(kind: str, key: str) -> str:
    """The artifact's name: ``series/histograms/grad~layer1.json`` for the histograms of "grad/layer1".

    Characters that are a problem in URLs or file systems are left out of the key, and a digest is added to it.
    """
    plain = _TROUBLE.sub("_", key).encode("utf-8", "replace")[:KEY_BYTES_MAX].decode("utf-8", "ignore")
    if plain != key or plain.startswith("."):
        plain = f"{plain.lstrip('.')}-{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
    return f"{SERIES_FOLDER}/{kind}s/{plain.replace('/', '~')}.json"


def _index(folder: RunFolder) -> tuple[dict[tuple[str, str], list[_Place]], dict[str, int]]:
    """The places of the lines of each series, and how many bytes of each journal they cover."""
    series: dict[tuple[str, str], list[_Place]] = {}
    ends: dict[str, int] = {}
    for path in journals(folder.path):
        ends[path.stem] = _end(path)
        for line in read_lines(path):
            if line.offset >= ends[path.stem]:
                break  # written since: its writer publishes it at its own end
            kind, key = line.fields["type"], line.fields["key"]
            if kind in SERIES.types:
                series.setdefault((kind, key), []).append(_Place(line.order, path, line.offset, line.fields["step"]))
    return series, ends


def _end(path: Path) -> int:
    """The byte after the last whole line."""
    try:
        file = reading(path)
    except NotRegularError:
        return 0
    with file:
        end = at = file.seek(0, os.SEEK_END)
        while at > 0:
            at = max(0, end - (1 << 16))
            file.seek(at)
            newline = file.read(end - at).rfind(b"\n")
            if newline >= 0:
                return at + newline + 1
            end = at
    return 0


def _counting(places: Sequence[_Place], visibility: Visibility) -> list[_Place]:
    """The lines that no rewind hides."""
    return [place for place in places if not visibility.hides_line(place.order[1], place.order[2], place.step)]


def _write_table(target: Path, places: Sequence[_Place], counting: Sequence[_Place]) -> None:
    """Write a table in pandas' "split" layout, as MLflow's are, one line at a time: of those ``counting``."""
    columns = ["step", "time"]
    own = _table_columns(places)
    while own is not None and not set(columns).isdisjoint(own):
        columns = [f"_{name}" for name in columns]  # the table's own columns keep their names
    with open(target, "w", encoding="utf-8", errors="surrogatepass") as file:
        more = own if own is not None else _COLUMNS[_kind(places)]
        file.write(f'{{"columns":{_json([*columns, *more])},"data":[')
        comma = ""
        for fields in _lines(counting):
            head = [fields["step"], _iso(int(fields["time"]))]
            for row in _rows(fields, more):
                file.write(f"{comma}{_json([*head, *row])}")
                comma = ",\n"
        file.write("]}")


_COLUMNS = {"histogram": ["total", "low", "high", "counts", "edges", "left_out"], "text": ["text"]}


def _kind(places: Sequence[_Place]) -> str:
    return next((str(fields["type"]) for fields in _lines(places)), "text")


def _table_columns(places: Sequence[_Place]) -> list[str] | None:
    """The columns of all tables of a series, in the order of first occurrence; None if it is not a series of tables."""
    columns: dict[str, None] = {}
    for fields in _lines(places):
        if fields["type"] != "table":
            return None
        columns |= dict.fromkeys(map(str, fields["columns"]))
    return list(columns)


def _rows(fields: dict[str, Any], columns: Sequence[str]) -> Iterator[list[Any]]:
    try:
        value = decode_value(fields)
    except (KeyError, TypeError, ValueError):
        return  # damage, which `mltrack check` reports
    if isinstance(value, Text):
        yield [value.text]
    elif isinstance(value, Histogram):
        edges = None if "edges" not in fields else value.edges.tolist()
        counts = value.counts.tolist()
        yield [sum(counts), float(value.edges[0]), float(value.edges[-1]), counts, edges, value.left_out]
    elif isinstance(value, Table):
        names = list(map(str, value.columns))
        for row in value.rows:
            cells = dict(zip(names, row, strict=False))
            yield [cells.get(name) for name in columns]


def _lines(places: Sequence[_Place]) -> Iterator[dict[str, Any]]:
    with contextlib.ExitStack() as stack:
        files = {path: stack.enter_context(reading(path)) for path in {place.path for place in places}}
        for place in places:
            file = files[place.path]
            file.seek(place.offset)
            with contextlib.suppress(BadLine):
                yield decode_line(file.readline(LINE_BYTES_MAX + 64)[:-1], SERIES)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True)


def _iso(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(timespec="milliseconds")
