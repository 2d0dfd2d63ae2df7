"""The index of traces is saved next to the catalog: a new process begins with it, if it fits the facts files."""

from __future__ import annotations

import itertools
import os
import shutil
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from mltrack.disk.layout import Layout
from mltrack.errors import CorruptionError, StoreError
from mltrack.storage.traces.index import SAVED_MIN, first_save_at
from mltrack.storage.traces.index_file import index_path
from mltrack.storage.traces.traces import Trace, Traces
from mltrack.storage.traces.views import LATEST_FIRST, VALUES_MAX, SortKey, TraceField
from mltrack.storage.traces.views import in_order as sorted_traces
from mltrack.store import Store

START = 1_700_000_000_000
MANY = SAVED_MIN // 2 + 10
KIND = TraceField("kind", lambda trace: (trace.tags["kind"],), as_text=True)
STATE = TraceField("state", lambda trace: (trace.state,), column="state")


def made(layout: Layout) -> Traces:
    ticks = itertools.count(1_000, 10)
    return Traces(layout, clock=lambda: next(ticks))


def head(span_id: str, parent: str | None, **fields: Any) -> dict[str, Any]:
    return {"id": span_id, "parent": parent, "name": span_id, "status": "OK", "start": 5, "end": 9, **fields}


def fill(traces: Traces) -> None:
    """Traces of every kind: with spans and figures, assessed, linked, with prompts, deleted, not born yet."""
    for number in range(MANY):
        trace_id, experiment = f"tr-{number:03}", "0" if number % 3 else "7"
        heads = [head("a", None, usage={"input_tokens": 2}, cost={"total_cost": 0.5}, model="größe"), head("b", "a")]
        spans = {"type": "spans", "trace_id": trace_id, "start": START + number, "end": START + 99, "heads": heads}
        traces.add_spans(experiment, [spans], [[{"name": "a"}, {"name": "b"}]])
        given = {"tags": {"kind": f"kind-{number % 5}", "ä\n": "\ud800"}, "metadata": {"m": "1"}, "session": "s"}
        info = {"type": "info", "trace_id": trace_id, "request_time": START + number % 7, "state": "ERROR", **given}
        traces.add(experiment, info)
    judged: dict[str, Any] = {
        "assessment_id": "a-1",
        "name": "good",
        "kind": "feedback",
        "value": "true",
        "source_type": "HUMAN",
    }
    judged |= {"create_time": START, "update_time": START}
    traces.add("7", {"type": "assessment", "trace_id": "tr-000", "assessment": judged})
    traces.add("7", {"type": "run", "trace_id": "tr-000", "run_id": "r", "linked": True})
    traces.add("7", {"type": "prompt", "trace_id": "tr-000", "prompt": "p/1"})
    traces.add("0", {"type": "delete", "trace_id": "tr-001"})
    traces.add("0", {"type": "run", "trace_id": "tr-unborn", "run_id": "r", "linked": True})


def in_order(traces: Traces) -> list[Trace]:
    return list(traces.in_order(None, LATEST_FIRST))


@pytest.fixture
def folded(layout: Layout) -> list[Trace]:
    """All traces as their facts make them; the first reader has saved its index."""
    writer = made(layout)
    fill(writer)
    writer.close()
    found = in_order(made(layout))
    assert index_path(layout.root).exists()
    return found


def hide_change(path: Path, old: bytes, new: bytes) -> None:
    """Change a file so that only who reads all of it sees that."""
    was = path.stat()
    path.write_bytes(path.read_bytes().replace(old, new))
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))


def test_saved_traces_are_as_their_facts_made_them(layout: Layout, folded: list[Trace]) -> None:
    facts = sorted((layout.traces / "7" / "facts").iterdir())[0]
    hide_change(facts, b'"kind":"kind-0"', b'"kind":"kind-9"')  # nobody reads it again
    assert in_order(made(layout)) == folded
    assert repr(in_order(made(layout))) == repr(folded)  # what a sync takes for the state of a trace
    assert {trace.trace_id: trace for trace in made(layout).all()} == {trace.trace_id: trace for trace in folded}
    one = made(layout).get("tr-000")
    assert (one.tags["kind"], one.run_ids, one.prompts, len(one.spans)) == ("kind-0", ("r",), ("p/1",), 2)
    assert made(layout).find("tr-001") is None
    assert made(layout).find("tr-unborn") is None


def test_saved_traces_have_the_positions_of_their_facts(layout: Layout, folded: list[Trace]) -> None:
    def positions() -> list[Any]:
        whole = made(layout).changes()
        return [whole.positions, sorted(whole.trace_ids), made(layout).changes(whole.positions).trace_ids]

    saved = positions()
    index_path(layout.root).unlink()
    assert saved == positions()
    assert "tr-001" in saved[1]  # a deleted one, for syncs


def test_saved_traces_are_searched_as_others(layout: Layout, folded: list[Trace]) -> None:
    traces = made(layout)
    scope = frozenset({"7"})
    assert list(traces.in_order(scope, LATEST_FIRST)) == [trace for trace in folded if trace.experiment_id == "7"]
    wanted = {trace.trace_id for trace in folded if trace.tags["kind"] == "kind-3"}
    for _ in range(2):  # the first time those with the text are looked for, then there is a view
        assert {trace.trace_id for trace in traces.having(KIND, "kind-3") or ()} == wanted
    for number in range(VALUES_MAX + 1):  # then there is a view of all values
        traces.having(KIND, f"none-{number}")
    assert {trace.trace_id for trace in traces.having(KIND, "kind-3") or ()} == wanted
    assert len(traces.having(STATE, "ERROR") or ()) == len(folded)
    assert traces.having(STATE, "UNKNOWN") == []


@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize("columns", [("duration",), ("state", "duration"), ("trace_id",), ("request_time", "state")])
def test_saved_traces_are_sorted_as_others(
    layout: Layout, folded: list[Trace], columns: tuple[str, ...], ascending: bool
) -> None:
    writer = made(layout)
    writer.add("0", {"type": "info", "trace_id": "tr-new", "request_time": START + 3, "duration": 98})
    writer.add("0", {"type": "info", "trace_id": "tr-000a", "request_time": START + 3})
    writer.add("7", {"type": "info", "trace_id": "tr-003", "request_time": START + 3, "state": "OK"})
    keys = tuple(SortKey(column, ascending, attrgetter(column), column) for column in columns)
    keys += tuple(key for key in LATEST_FIRST if key.column not in columns)
    for scope in (None, frozenset({"7"})):
        wanted = sorted_traces([trace for trace in writer.all() if scope is None or trace.experiment_id in scope], keys)
        found = made(layout).in_order(scope, keys)
        assert list(found) == wanted
        assert list(found[3:9]) == wanted[3:9]
        assert found[-1] == wanted[-1]


@pytest.mark.parametrize("field", ["trace_id", "request_time", "duration", "state"])
def test_saved_traces_with_a_value_of_a_column_are_found(layout: Layout, folded: list[Trace], field: str) -> None:
    read = attrgetter(field)
    asked = TraceField(field, lambda trace: (read(trace),), column=field)
    traces = made(layout)
    for value in {read(trace) for trace in folded[::9]} | {"none", "tr-002\ntr-003", 5.5}:
        wanted = {trace.trace_id for trace in folded if read(trace) == value}
        assert {trace.trace_id for trace in traces.having(asked, value) or ()} == wanted, value


def test_what_was_logged_since_is_found(layout: Layout, folded: list[Trace]) -> None:
    writer = made(layout)
    assert writer.get("tr-002").tags["kind"] == "kind-2"
    writer.add("0", {"type": "tag", "trace_id": "tr-002", "key": "kind", "value": "new"})
    writer.add("0", {"type": "delete", "trace_id": "tr-004"})
    writer.add("0", {"type": "info", "trace_id": "tr-new", "request_time": START + 3, "tags": {"kind": "new"}})
    info = {"type": "info", "trace_id": "tr-unborn", "request_time": START, "tags": {"kind": "new"}}
    writer.add("0", info)
    traces = made(layout)
    found = in_order(traces)
    assert found == in_order(writer)
    assert found == sorted(found, key=lambda trace: (-trace.request_time, trace.trace_id))
    assert {trace.trace_id for trace in traces.having(KIND, "new") or ()} == {"tr-002", "tr-new", "tr-unborn"}
    assert {trace.trace_id for trace in found} == {trace.trace_id for trace in folded} - {"tr-004"} | {
        "tr-new",
        "tr-unborn",
    }
    index_path(layout.root).unlink()
    assert in_order(made(layout)) == found


def test_an_index_is_saved_upon_a_saved_one(layout: Layout, folded: list[Trace]) -> None:
    writer = made(layout)
    for number in range(SAVED_MIN):
        writer.add("0", {"type": "tag", "trace_id": f"tr-{2 + number % 50:03}", "key": "kind", "value": f"{number}"})
    before = index_path(layout.root).stat().st_ino
    found = in_order(made(layout))
    assert index_path(layout.root).stat().st_ino != before
    assert in_order(made(layout)) == found
    assert found[0].spans


@pytest.mark.parametrize(
    "change", ["another file", "a shorter file", "no file", "a copied store", "another version", "cut", "zeros"]
)
def test_an_index_that_does_not_fit_is_not_used(layout: Layout, folded: list[Trace], change: str) -> None:
    facts = sorted((layout.traces / "0" / "facts").iterdir())[0]
    index = index_path(layout.root)
    whole = facts.read_bytes()
    if change == "another file":
        lines = whole.splitlines(keepends=True)
        facts.write_bytes(b"".join([*lines[:2], *lines[4:], *lines[2:4]]))
    elif change == "a shorter file":
        facts.write_bytes(whole[: len(whole) // 2])
    elif change == "no file":
        facts.unlink()
    elif change == "a copied store":
        copied = index.read_bytes()
        index.rename(index.with_name("was"))  # its inode stays taken
        index.write_bytes(copied)
    elif change == "another version":
        index.write_bytes(index.read_bytes().replace(b'"version":', b'"virsion":', 1))
    else:
        saved = index.read_bytes()
        index.write_bytes(saved[:-100] if change == "cut" else bytes(len(saved)))
    found = in_order(made(layout))
    index_path(layout.root).unlink(missing_ok=True)
    assert found == in_order(made(layout))


@pytest.mark.parametrize("damage", [b'"kind-8"', bytes(4096)])
def test_a_damaged_row_is_said_to_be_one(layout: Layout, folded: list[Trace], damage: bytes) -> None:
    index = index_path(layout.root)
    with index.open("r+b") as file:
        at = file.read().index(b'"kind-3"')
        file.seek(at)
        file.write(damage)
    with pytest.raises(CorruptionError, match="is damaged") as caught:
        for trace in in_order(made(layout)):
            assert trace.tags
    assert "delete it" in (caught.value.hint or "")


def test_an_order_and_a_value_of_columns_decode_no_row(layout: Layout, folded: list[Trace]) -> None:
    index = index_path(layout.root)
    saved = index.read_bytes()
    rows = saved.index(b'[["tr-')
    with index.open("r+b") as file:
        file.seek(rows)
        file.write(bytes(len(saved) - rows))
    keys = (SortKey("duration", True, attrgetter("duration"), "duration"), *LATEST_FIRST)
    traces = made(layout)
    wanted = [trace.trace_id for trace in sorted_traces(folded, keys)]
    assert [trace.trace_id for trace in traces.in_order(None, keys)] == wanted
    assert {trace.state for trace in traces.having(STATE, "ERROR") or ()} == {"ERROR"}


def test_an_index_that_cannot_be_written_is_done_without(layout: Layout) -> None:
    fill(made(layout))
    index_path(layout.root).mkdir()
    assert len(made(layout).all()) == MANY - 1


def test_traces_that_are_too_long_for_an_index_are_done_without_one(layout: Layout) -> None:
    writer = made(layout)
    fill(writer)
    ends = {"start": -(1 << 63), "end": (1 << 63) - 1}
    writer.add_spans("0", [{"type": "spans", "trace_id": "tr-long", "heads": [head("a", None)], **ends}], [[{}]])
    assert len(made(layout).all()) == MANY
    assert not index_path(layout.root).exists()


def test_a_large_index_is_not_written_again_for_few_new_facts() -> None:
    assert first_save_at(0) == first_save_at(10_000) == SAVED_MIN
    assert first_save_at(1_000_000) == 15_625


def test_few_traces_are_not_saved(layout: Layout) -> None:
    writer = made(layout)
    writer.add("0", {"type": "info", "trace_id": "tr-1", "request_time": START})
    assert len(made(layout).all()) == 1
    assert not index_path(layout.root).exists()


def test_traces_that_are_removed_for_good_are_in_no_index(layout: Layout, folded: list[Trace]) -> None:
    of_another_user = index_path(layout.root).with_name("catalog.traces.4000000000")
    of_another_user.write_bytes(index_path(layout.root).read_bytes())
    torn = index_path(layout.root).with_name(".catalog.traces.0.7.tmp")
    torn.write_bytes(index_path(layout.root).read_bytes())
    made(layout).remove("7")
    assert not index_path(layout.root).exists()
    assert not of_another_user.exists()
    assert not torn.exists()
    assert all(trace.experiment_id == "0" for trace in made(layout).all())


def test_an_index_that_cannot_be_removed_is_named(layout: Layout, folded: list[Trace]) -> None:
    index_path(layout.root).with_name("catalog.traces.4000000000").mkdir()
    with pytest.raises(StoreError, match=r"catalog\.traces\.4000000000 can't be removed"):
        made(layout).remove("7")


def test_a_copy_of_a_store_is_read_without_the_index(layout: Layout, folded: list[Trace], tmp_path: Path) -> None:
    shutil.copytree(layout.root, tmp_path / "copy")
    assert in_order(Store.open(tmp_path / "copy").traces) == folded
