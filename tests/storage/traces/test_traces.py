"""The traces of a store: what is appended by any process is read by any other, and no crash or fault takes it back."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mltrack.disk.codec import encode_line
from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.disk.layout import Layout
from mltrack.errors import InvalidPathError, NotFoundError, StoreError, UsageError
from mltrack.storage.check.check import check_store
from mltrack.storage.traces.traces import Traces
from mltrack.store import Store
from tests.support.filesystems import failing
from tests.support.recording import run_python, start_python

START = 1_700_000_000_000


def ticking(start: int = 1_000) -> Any:
    """A clock that is 10 ns later at each look."""
    ticks = itertools.count(start, 10)
    return lambda: next(ticks)


@pytest.fixture
def traces(layout: Layout) -> Iterator[Traces]:
    made = Traces(layout, clock=ticking())
    yield made
    made.close()


def other(layout: Layout, clock: Any = None, fs: FileSystem = LOCAL) -> Traces:
    """As another process would have it."""
    return Traces(layout, clock=clock or ticking(1_000_000), fs=fs)


def info(trace_id: str = "tr-1", **fields: Any) -> dict[str, Any]:
    return {"type": "info", "trace_id": trace_id, "request_time": START, "state": "OK", **fields}


def head(span_id: str, parent: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"id": span_id, "parent": parent, "name": span_id, "status": "OK", "start": 5, "end": 9, **fields}


def spans(trace_id: str, *heads: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"type": "spans", "trace_id": trace_id, "start": START, "end": START + 7, "heads": list(heads), **fields}


def tag(value: str | None, trace_id: str = "tr-1", key: str = "k") -> dict[str, Any]:
    return {"type": "tag", "trace_id": trace_id, "key": key, "value": value}


def assessment(assessment_id: str, **fields: Any) -> dict[str, Any]:
    record: dict[str, Any] = {"assessment_id": assessment_id, "name": "good", "kind": "feedback", "value": "true"}
    record |= {"source_type": "HUMAN", "create_time": START, "update_time": START, **fields}
    return {"type": "assessment", "trace_id": "tr-1", "assessment": record}


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


# --- what a trace is made of ---------------------------------------------------------------------------------------


def test_a_trace_is_read_as_it_was_written(traces: Traces, layout: Layout) -> None:
    traces.add_spans("0", [spans("tr-1", head("b", "a"), head("a"))], [[{"name": "b", "x": "größe"}, '{"name": NaN}']])
    traces.add("0", info(tags={"k": "v"}, metadata={"m": "1"}, session="s", tokens={"input_tokens": 3}, duration=12))
    for reader in (traces, other(layout)):
        trace = reader.get("tr-1")
        assert (trace.request_time, trace.duration, trace.state, trace.session) == (START, 12, "OK", "s")
        assert trace.full_metadata == {
            "m": "1",
            "mlflow.trace.session": "s",
            "mlflow.trace.tokenUsage": '{"input_tokens": 3}',
        }
        assert [span.span_id for span in trace.ordered_spans()] == ["a", "b"]
        with reader.spans() as read:
            assert read.read(trace.ordered_spans()) == ['{"name": NaN}', '{"name": "b", "x": "größe"}']
            assert not read.damage


def test_writes_of_two_processes_are_merged_by_time(layout: Layout) -> None:
    one, two = other(layout, ticking(1_000)), other(layout, ticking(500_000))
    two.add("0", tag("never"))  # its trace does not exist yet: by time it does
    one.add("0", info())
    assert one.get("tr-1").tags == {"k": "never"}
    two.add("0", tag("later"))
    assert one.get("tr-1").tags == two.get("tr-1").tags == {"k": "later"}
    two.close()
    one.close()


@pytest.mark.parametrize("trace_id", ["tr-1", 'a "trace"\\n', "\udcff", "größe"])
def test_a_late_but_older_fact_takes_its_place_in_the_order(layout: Layout, trace_id: str) -> None:
    early, late = other(layout, ticking(1_000)), other(layout, ticking(500_000))
    reader = other(layout)
    late.add("0", info(trace_id), tag("late", trace_id))
    assert reader.get(trace_id).tags == {"k": "late"}
    early.add("0", info(trace_id), tag("early", trace_id), tag("\udcff", trace_id, key="early"))
    assert reader.get(trace_id).tags == {"k": "late", "early": "\udcff"}


def test_a_change_follows_what_its_author_had_read_even_if_the_clock_was_set_back(layout: Layout) -> None:
    ahead, behind = other(layout, ticking(10**9)), other(layout, ticking(1_000))
    ahead.add("0", info(), tag("first"))
    assert behind.get("tr-1").tags == {"k": "first"}
    behind.add("0", tag("second"))
    assert ahead.get("tr-1").tags == behind.get("tr-1").tags == {"k": "second"}


def test_spans_alone_make_a_trace_that_is_in_progress_until_its_root_comes(traces: Traces) -> None:
    traces.add_spans("0", [spans("tr-1", head("b", "a"))], [[{}]])
    assert (traces.get("tr-1").state, traces.get("tr-1").duration) == ("IN_PROGRESS", 7)
    root = spans("tr-1", head("a"), root_state="ERROR", start=START - 3, end=START + 20, request_preview="hi", user="u")
    traces.add_spans("0", [root], [[{}]])
    trace = traces.get("tr-1")
    assert (trace.state, trace.request_time, trace.duration, trace.request_preview) == ("ERROR", START - 3, 23, "hi")
    assert trace.metadata == {"mlflow.trace.user": "u"}


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_usage_of_a_parent_span_replaces_that_of_its_children_in_any_order(
    traces: Traces, order: tuple[int, ...]
) -> None:
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    heads = [
        head("root"),
        head("agent", "root", usage={**usage, "cache_read_input_tokens": 5}),
        head("chain", "agent"),
        head("model", "chain", usage=usage, cost={"total_cost": 0.5}),
    ]
    for number in order:
        traces.add_spans("0", [spans("tr-1", heads[number])], [[{}]])
    trace = traces.get("tr-1")
    assert trace.tokens == {**usage, "cache_read_input_tokens": 5}
    assert trace.cost == {"input_cost": 0.0, "output_cost": 0.0, "total_cost": 0.5}


def test_usage_is_kept_when_the_last_span_that_reported_it_is_replaced(traces: Traces, layout: Layout) -> None:
    told = spans("tr-1", head("a", usage={"input_tokens": 2}))
    late = spans("tr-1", head("b", usage={"input_tokens": 3}))
    for fact in (told, spans("tr-1", head("a", cost={"total_cost": 0.5}))):
        traces.add_spans("0", [fact], [[{}]])
    trace = traces.get("tr-1")
    assert (trace.tokens["input_tokens"], trace.cost["total_cost"]) == (2, 0.5)
    traces.add("0", info(final=True))
    traces.add_spans("0", [late], [[{}]])
    assert traces.get("tr-1").tokens["input_tokens"] == 2
    assert other(layout).get("tr-1") == traces.get("tr-1")


@pytest.mark.parametrize("read_after_each", [True, False])
def test_a_trace_is_the_same_whether_read_during_or_after_its_spans_arrive(
    traces: Traces, layout: Layout, read_after_each: bool
) -> None:
    for number in range(50):
        usage: dict[str, Any] = {"usage": {"input_tokens": number}} if number % 3 == 0 else {}
        traces.add_spans("0", [spans("tr-1", head(f"s-{number}", **usage), start=START - number)], [[{}]])
        if read_after_each:
            assert len(traces.get("tr-1").spans) == number + 1
    trace = traces.get("tr-1")
    assert list(trace.spans) == [f"s-{number}" for number in range(50)]
    assert (trace.request_time, trace.tokens["input_tokens"]) == (START - 49, sum(range(0, 50, 3)))


def written_elsewhere(layout: Layout, *facts: dict[str, Any]) -> None:
    """Facts in a file that another program wrote, which checked nothing."""
    folder = layout.trace_folder("0")
    folder.make(LOCAL)
    lines = [encode_line({"seq": seq, "time": 5_000 + seq, **fact}) for seq, fact in enumerate(facts)]
    (folder.facts / f"{5:016x}.jsonl").write_bytes(b"".join(lines))


def test_usage_that_cannot_be_summed_is_reported_and_other_spans_are_kept(traces: Traces, layout: Layout) -> None:
    for tokens in (1, 2):
        traces.add_spans("0", [spans("tr-1", head(f"s-{tokens}", usage={"input_tokens": tokens}))], [[{}]])
    bad = spans("tr-1", head("s-many", usage={"input_tokens": "many"}), at=[0, 1])
    with pytest.raises(UsageError, match="a line of a trace can't be stored: 'heads' is"):
        traces.add_spans("0", [bad], [[{}]])
    written_elsewhere(layout, bad)
    trace = traces.get("tr-1")
    assert (len(trace.spans), trace.tokens["input_tokens"], len(traces.damage)) == (2, 3, 1)


def test_a_span_that_is_sent_again_replaces_the_first(traces: Traces) -> None:
    traces.add_spans("0", [spans("tr-1", head("a", end=None))], [[{"v": 1}]])
    traces.add_spans("0", [spans("tr-1", head("a", end=11))], [[{"v": 2}]])
    trace = traces.get("tr-1")
    with traces.spans() as read:
        assert read.read(trace.ordered_spans()) == ['{"v": 2}']
    assert trace.spans["a"].end == 11


def test_an_assessment_overrides_another_until_it_is_deleted(traces: Traces) -> None:
    traces.add("0", info(), assessment("a-1"), assessment("a-2", overrides="a-1", value="false"))
    held = traces.get("tr-1").assessments
    assert (held["a-1"].valid, held["a-2"].valid) == (False, True)
    changed = {"type": "assessment_change", "trace_id": "tr-1", "assessment_id": "a-1", "changes": {"rationale": "why"}}
    traces.add("0", changed, {"type": "assessment_delete", "trace_id": "tr-1", "assessment_id": "a-2"})
    held = traces.get("tr-1").assessments
    assert list(held) == ["a-1"]
    assert (held["a-1"].valid, held["a-1"].rationale) == (True, "why")


def test_links_to_runs_and_prompts_are_kept_once(traces: Traces) -> None:
    run = {"type": "run", "trace_id": "tr-1", "run_id": "r", "linked": True}
    prompt = {"type": "prompt", "trace_id": "tr-1", "prompt": "p/1"}
    traces.add("0", info(), run, run, prompt, prompt)
    assert (traces.get("tr-1").run_ids, traces.get("tr-1").prompts) == (("r",), ("p/1",))
    traces.add("0", {**run, "linked": False})
    assert traces.get("tr-1").run_ids == ()


def test_a_deleted_trace_is_gone_and_its_id_can_be_used_again(traces: Traces) -> None:
    traces.add("0", info(), tag("old"), {"type": "delete", "trace_id": "tr-1"})
    with pytest.raises(NotFoundError, match="tr-1"):
        traces.get("tr-1")
    assert traces.all() == []
    traces.add("0", tag("to nobody"), info())
    assert traces.get("tr-1").tags == {}


def test_a_trace_that_was_returned_never_changes(traces: Traces) -> None:
    traces.add("0", info(), tag("before"))
    trace = traces.get("tr-1")
    traces.add("0", tag("after"))
    assert trace.tags == {"k": "before"}
    assert traces.get("tr-1").tags == {"k": "after"}


def test_positions_show_what_is_new(traces: Traces, layout: Layout) -> None:
    traces.add("0", info("tr-1"), info("tr-2"))
    reader = other(layout)
    first = reader.changes()
    assert set(first.trace_ids) == {"tr-1", "tr-2"}
    assert list(first.positions.values()) == [3]  # with the line that says who writes
    assert reader.changes(first.positions).trace_ids == ()
    traces.add("0", {"type": "delete", "trace_id": "tr-2"})
    traces.add("7", info("tr-3"))
    assert set(reader.changes(first.positions).trace_ids) == {"tr-2", "tr-3"}


# --- files, processes, faults --------------------------------------------------------------------------------------


def test_an_experiment_id_cannot_lead_out_of_the_store(traces: Traces) -> None:
    with pytest.raises(InvalidPathError):
        traces.add("../0", info())


def test_after_a_close_the_next_call_writes_to_new_files(traces: Traces, layout: Layout) -> None:
    traces.add("0", info("tr-1"))
    traces.close()
    traces.close()
    traces.add("0", info("tr-2"))
    assert len(list(layout.trace_folder("0").facts.iterdir())) == 2
    assert {trace.trace_id for trace in other(layout).all()} == {"tr-1", "tr-2"}


def test_the_number_of_open_experiments_is_limited(traces: Traces) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(80):
        traces.add(str(number), info(f"tr-{number}"))
    assert len(os.listdir("/proc/self/fd")) - before <= 66  # one for the listing, and one that a sync may have open
    assert len(traces.all()) == 80


def test_writers_of_two_experiments_may_have_the_same_name(traces: Traces, layout: Layout) -> None:
    traces.add("1", info("tr-1"))
    traces.add("2", info("tr-2"))
    traces.close()
    (first,), (second,) = (tuple(layout.trace_folder(name).facts.iterdir()) for name in "12")
    second.rename(second.with_name(first.name))
    reader = other(layout)
    assert {trace.trace_id for trace in reader.all()} == {"tr-1", "tr-2"}
    assert sorted(reader.changes().positions) == [f"1/{first.stem}", f"2/{first.stem}"]
    assert reader.changes(reader.changes().positions).trace_ids == ()
    assert reader.changes({first.stem: 3}).trace_ids == ()  # as ledgers of earlier versions have it


def test_threads_write_and_read_at_once(traces: Traces) -> None:
    def work(number: int) -> None:
        for count in range(30):
            trace_id = f"tr-{number}-{count}"
            traces.add_spans("0", [spans(trace_id, head("a"))], [[{"thread": number}]])
            traces.add("0", info(trace_id))
            assert traces.get(trace_id).spans.keys() == {"a"}

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(traces.all()) == 120
    assert not traces.damage


FORKING = """
import os, sys
from mltrack.store import Store
traces = Store.open(sys.argv[1]).traces
info = lambda name: {"type": "info", "trace_id": name, "request_time": 1, "state": "OK"}
traces.add("0", info("parent"))
pid = os.fork()
traces.add("0", info("child" if pid == 0 else "after"))
assert {t.trace_id for t in traces.all()} >= {"parent", "child" if pid == 0 else "after"}
if pid == 0:
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""


def test_a_forked_child_writes_to_its_own_files(layout: Layout) -> None:
    run_python(FORKING, layout.root)
    assert {trace.trace_id for trace in Store.open(layout.root).traces.all()} == {"parent", "child", "after"}
    assert len(list(layout.trace_folder("0").facts.iterdir())) == 2


ENDLESS = """
import sys
from mltrack.store import Store
traces = Store.open(sys.argv[1]).traces
for n in range(10**9):
    fact = {"type": "spans", "trace_id": f"tr-{n}", "start": n, "end": n + 1,
            "heads": [{"id": "a", "name": "a", "status": "OK", "start": n, "end": n + 1}]}
    traces.add_spans("0", [fact], [[{"n": n}]])
    traces.add("0", {"type": "info", "trace_id": f"tr-{n}", "request_time": n, "state": "OK"})
    print(n, flush=True)
"""


def test_what_a_call_returned_from_survives_kill_9(layout: Layout) -> None:
    process = start_python(ENDLESS, layout.root)
    assert process.stdout is not None
    try:
        for _ in range(50):
            process.stdout.readline()
    finally:
        process.send_signal(signal.SIGKILL)
        rest, errors = process.communicate()
    assert not errors
    told = 50 + rest.count("\n")
    traces = Store.open(layout.root).traces
    with traces.spans() as read:
        for number in range(told):
            trace = traces.get(f"tr-{number}")
            assert trace.state == "OK"
            assert read.read(trace.ordered_spans()) == [f'{{"n": {number}}}']
    assert not traces.damage
    assert check_store(layout.root).sound


def test_an_incomplete_line_is_ignored_until_it_is_complete(traces: Traces, layout: Layout) -> None:
    traces.add("0", info())
    path = only_file(layout.trace_folder("0").facts)
    copy = layout.trace_folder("1")
    copy.make(LOCAL)
    line = encode_line({"seq": 0, "time": 5, **info("tr-2")})
    torn = copy.facts / "aaaaaaaaaaaaaaaa.jsonl"
    torn.write_bytes(line[:-9])
    reader = other(layout)
    assert [trace.trace_id for trace in reader.all()] == ["tr-1"]
    torn.write_bytes(line)
    assert {trace.trace_id for trace in reader.all()} == {"tr-1", "tr-2"}
    assert path.exists()
    assert not reader.damage


def test_a_damaged_line_is_reported_and_those_around_it_are_read(traces: Traces, layout: Layout) -> None:
    for number in range(3):
        traces.add("0", info(f"tr-{number}"))
    path = only_file(layout.trace_folder("0").facts)
    data = bytearray(path.read_bytes())
    data[data.index(b"tr-1")] ^= 1
    path.write_bytes(data)
    reader = other(layout)
    assert {trace.trace_id for trace in reader.all()} == {"tr-0", "tr-2"}
    assert [damage.path for damage in reader.damage] == [str(path)]
    report = check_store(layout.root)
    assert [finding.path for finding in report.findings if finding.severity == "error"] == [
        str(path.relative_to(layout.root))
    ]


@pytest.mark.parametrize(
    "fact",
    [
        {"type": "info", "trace_id": "tr-9"},
        {"type": "spans", "trace_id": "tr-1", "start": 3, "heads": [{}], "at": [0, 1]},
        {"type": "tag", "trace_id": "tr-1"},
        {"type": "assessment", "trace_id": "tr-1", "assessment": {"no": "such"}},
    ],
)
def test_a_fact_without_required_fields_is_reported_and_skipped(
    traces: Traces, layout: Layout, fact: dict[str, Any]
) -> None:
    written_elsewhere(layout, info(), fact, tag("v"))
    assert [(trace.trace_id, trace.tags) for trace in traces.all()] == [("tr-1", {"k": "v"})]
    assert len(traces.damage) == 1


def test_facts_of_an_unknown_type_are_skipped(traces: Traces) -> None:
    traces.add("0", info(), {"type": "of the future", "trace_id": "tr-1"})
    assert traces.get("tr-1").state == "OK"
    assert not traces.damage


@pytest.mark.parametrize("damage", ["missing", "short", "flipped"])
def test_damaged_spans_are_reported_by_the_reader_and_by_the_check(traces: Traces, layout: Layout, damage: str) -> None:
    traces.add_spans("0", [spans("tr-1", head("a"))], [[{"v": 1}]])
    path = only_file(layout.trace_folder("0").spans)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(data if damage == "flipped" else data[:-7])
    with traces.spans() as read:
        assert read.read(traces.get("tr-1").ordered_spans()) == []
        assert [error.path for error in read.damage] == [str(path)]
    assert not check_store(layout.root).sound


def test_a_full_disk_raises_to_the_caller_and_later_calls_succeed(layout: Layout) -> None:
    fs = failing(*range(8, 10))
    traces = other(layout, fs=fs)
    outcomes = []
    for number in range(6):
        try:
            traces.add_spans("0", [spans(f"tr-{number}", head("a"))], [[{"v": number}]])
            outcomes.append(True)
        except StoreError as error:
            assert "No space left" in str(error)
            outcomes.append(False)
    assert False in outcomes
    assert outcomes[-1]
    reader = other(layout)
    found = {trace.trace_id for trace in reader.all()}
    assert found == {f"tr-{number}" for number, stored in enumerate(outcomes) if stored}
    with reader.spans() as read:
        for trace in reader.all():
            assert read.read(trace.ordered_spans()) == [f'{{"v": {trace.trace_id[3:]}}}']
    assert not reader.damage


def test_the_folder_of_an_experiment_may_be_removed_or_copied_under_a_reader(traces: Traces, layout: Layout) -> None:
    traces.add("0", info("tr-1"))
    traces.add("1", info("tr-2"))
    reader = other(layout)
    assert len(reader.all()) == 2
    shutil.move(layout.traces / "1", layout.root.parent / "aside")
    assert [trace.trace_id for trace in reader.all()] == ["tr-1"]
    shutil.move(layout.root.parent / "aside", layout.traces / "1")
    assert len(reader.all()) == 2


def test_a_reader_never_reads_a_line_twice(traces: Traces, layout: Layout) -> None:
    traces.add("0", info())
    reader = other(layout)
    reader.all()
    facts = only_file(layout.trace_folder("0").facts)
    facts.write_bytes(bytes(facts.stat().st_size))  # what was read is not looked at again
    traces.add("0", tag("new"))
    assert reader.get("tr-1").tags == {"k": "new"}


UNREADABLE_FOR_A_WHILE = """
import sys
from pathlib import Path
from time import time_ns
from mltrack.disk.layout import Layout
from mltrack.errors import StoreError
from mltrack.storage.traces.traces import Traces

layout = Layout(Path(sys.argv[1]), "0" * 32)
writers = {name: Traces(layout, clock=time_ns) for name in ("tr-1", "tr-2")}
reader = Traces(layout, clock=time_ns)
for name, writer in writers.items():
    writer.add("0", {"type": "info", "trace_id": name, "request_time": 1, "state": "OK"})
assert len(reader.all()) == 2
for number, file in enumerate((layout.root / "traces/0/facts").iterdir()):
    for name, writer in writers.items():
        writer.add("0", {"type": "tag", "trace_id": name, "key": "k", "value": str(number)})
    file.chmod(0)
    try:
        reader.all()
    except StoreError:
        print("unreadable")
    file.chmod(0o600)
    print(*[trace.tags["k"] for trace in reader.all()])
"""


def test_a_file_that_cannot_be_read_for_a_while_costs_no_fact_of_another(layout: Layout) -> None:
    line = [sys.executable, "-c", UNREADABLE_FOR_A_WHILE, str(layout.root)]
    if os.geteuid() == 0:  # root reads everything, unless it gave that up
        line = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *line]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["unreadable", "0 0", "unreadable", "1 1"]


def test_a_store_without_traces_can_be_read(layout: Layout) -> None:
    assert Store.open(layout.root).traces.all() == []
    assert Store.open(layout.root).traces.changes().positions == {}
