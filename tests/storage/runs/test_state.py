"""The fold: the same events give the same state, however they are split over writers and read."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltrack.disk.codec import encode_line
from mltrack.disk.layout import RunFolder
from mltrack.entities import ModelOutput
from mltrack.journal.events import EventJournal
from mltrack.storage.runs.state import RunState

KEYS = st.sampled_from(["a", "b", "größe"])
EVENTS = st.one_of(
    st.fixed_dictionaries({"type": st.just("param"), "key": KEYS, "value": st.text(max_size=3)}),
    st.fixed_dictionaries({"type": st.just("tag"), "key": KEYS, "value": st.none() | st.text(max_size=3)}),
    st.fixed_dictionaries(
        {"type": st.just("artifact"), "path": KEYS, "size": st.integers(0, 9), "sha256": st.text(max_size=2)},
        optional={"deleted": st.just(True)},
    ),
    st.fixed_dictionaries(
        {"type": st.just("dataset"), "name": KEYS, "digest": KEYS, "source_type": st.just("local"), "source": KEYS},
        optional={"schema": st.none() | KEYS, "profile": st.none() | KEYS, "tags": st.dictionaries(KEYS, KEYS)},
    ),
    st.fixed_dictionaries({"type": st.just("model_input"), "model_id": KEYS}),
    st.fixed_dictionaries({"type": st.just("model_output"), "model_id": KEYS, "step": st.integers(0, 9)}),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["end", "status"]), "status": st.sampled_from(["FINISHED", "FAILED", "KILLED"])},
        optional={"end_time": st.integers(0, 1 << 60)},
    ),
    st.fixed_dictionaries({"type": st.just("lifecycle"), "stage": st.sampled_from(["active", "deleted"])}),
    st.fixed_dictionaries({"type": st.just("lost"), "points": st.integers(0, 9)}),
    st.fixed_dictionaries({"type": st.just("lost"), "artifact": KEYS}, optional={"reason": st.none() | KEYS}),
    st.fixed_dictionaries({"type": st.just("start"), "run_name": KEYS, "start_time": st.integers(0, 1 << 60)}),
    st.fixed_dictionaries({"type": st.just("metric"), "number": st.integers(0, 5), "key": KEYS}),
    st.just({"type": "close", "points": 3}),
    st.fixed_dictionaries({"type": st.just("of a later format"), "key": st.integers()}),
)
SCRIPT = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), EVENTS), max_size=25)
_folders = itertools.count()


def run_folder(root: Path) -> RunFolder:
    folder = RunFolder(root / f"{next(_folders):032x}")
    folder.events.mkdir(parents=True)
    return folder


def lines_by_writer(script: list[Any]) -> dict[str, list[bytes]]:
    """Writers' lines; each writer opens with saying so, and its times rise, as the journal makes them."""
    lines: dict[str, list[bytes]] = {}
    clock = 0
    for number, ahead, event in script:
        writer = f"{number:016x}"
        clock += ahead
        held = lines.setdefault(writer, [])
        if not held:
            opened = {"type": "writer", "run_id": "0" * 32, "role": "create", "host": "h", "pid": 1, "locked": True}
            held.append(encode_line({"seq": 0, "time": clock * 1000 + number, **opened}))
        held.append(encode_line({"seq": len(held), "time": clock * 1000 + number + len(held), **event}))
    return lines


def shown(state: RunState) -> Any:
    writers = {name: (w.role, w.ended, w.events, w.last_time, w.keys) for name, w in state.writers.items()}
    facts = (state.params, state.tags, state.artifacts, state.lost, dict(state.start), state.outcome())
    used = (state.datasets, state.model_inputs, state.model_outputs)
    return facts, used, state.last_time, writers, state.info(end_of_points=5)


@pytest.mark.slow
@given(SCRIPT, st.data())
def test_events_read_at_once_or_piece_by_piece_give_the_same_state(
    tmp_path_factory: pytest.TempPathFactory, script: list[Any], data: st.DataObject
) -> None:
    folder = run_folder(tmp_path_factory.mktemp("any"))
    bit_by_bit = RunState(folder)
    pending = {writer: b"".join(lines) for writer, lines in lines_by_writer(script).items()}
    while any(pending.values()):
        writer = data.draw(st.sampled_from(sorted(w for w, rest in pending.items() if rest)))
        count = data.draw(st.integers(1, len(pending[writer])))
        with open(folder.events / f"{writer}.jsonl", "ab") as file:
            file.write(pending[writer][:count])
        pending[writer] = pending[writer][count:]
        bit_by_bit.update()
    at_once = RunState(folder)
    events = at_once.update()
    assert shown(bit_by_bit) == shown(at_once)
    assert [(e.time, e.writer, e.seq) for e in events] == sorted((e.time, e.writer, e.seq) for e in events)
    assert not at_once.damage
    assert bit_by_bit.update() == []


def write(folder: RunFolder, writer: str, *events: dict[str, Any], opened: int = 0, role: str = "create") -> None:
    said = {"type": "writer", "role": role, "host": "h", "pid": 1, "locked": True}
    lines = [{"seq": n, "time": opened + n, **event} for n, event in enumerate([said, *events])]
    (folder.events / f"{writer}.jsonl").write_bytes(b"".join(map(encode_line, lines)))


def state_of(folder: RunFolder) -> RunState:
    state = RunState(folder)
    state.update()
    return state


def test_the_first_value_of_a_param_and_the_last_value_of_a_tag_win(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    for writer, opened, value in (("b" * 16, 10, "early"), ("a" * 16, 20, "late")):
        events = ({"type": "param", "key": "p", "value": value}, {"type": "tag", "key": "t", "value": value})
        write(folder, writer, *events, opened=opened)
    state = state_of(folder)
    assert (state.params, state.tags) == ({"p": "early"}, {"t": "late"})


def test_values_that_are_not_text_are_damage(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    write(folder, "a" * 16, *({"type": kind, "key": "k", "value": 5} for kind in ("param", "tag")))
    state = state_of(folder)
    assert (state.params, state.tags) == ({}, {})
    assert ["'value' is 5" in str(error) for error in state.damage] == [True, True]


def dataset(digest: str, source: str, **more: Any) -> dict[str, Any]:
    return {"type": "dataset", "name": "d", "digest": digest, "source_type": "local", "source": source, **more}


def test_repeated_datasets_and_model_outputs_keep_their_first_record(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    for writer, opened, source in (("b" * 16, 10, "early"), ("a" * 16, 20, "late")):
        models = ({"type": "model_input", "model_id": m} for m in ("m-2", "m-1"))
        made = {"type": "model_output", "model_id": "m-3", "step": opened}
        more = {"schema": "{}", "profile": None, "tags": {"mlflow.data.context": source}}
        events = (dataset("2", source, **more), dataset("1", source), *models, made)
        write(folder, writer, *events, opened=opened)
    state = state_of(folder)
    assert [(d.dataset.digest, d.dataset.source, d.dataset.schema) for d in state.datasets] == [
        ("2", "early", "{}"),
        ("1", "early", None),
    ]
    assert [d.context for d in state.datasets] == ["early", None]
    assert state.model_inputs == ["m-2", "m-1"]
    assert state.model_outputs == [ModelOutput("m-3", 10)]


def test_a_writer_that_is_read_late_is_still_ordered_by_time(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    state = RunState(folder)
    for writer, opened, value, status, stage in (
        ("a" * 16, 20, "late", "KILLED", "deleted"),
        ("b" * 16, 10, "early", "FINISHED", "active"),
    ):
        facts: list[dict[str, Any]] = [{"type": "param", "key": "k", "value": value}]
        facts += [{"type": "tag", "key": "k", "value": value}, {"type": "lifecycle", "stage": stage}]
        facts += [{"type": "start", "run_name": value}, {"type": "end", "status": status}]
        facts += [{"type": "artifact", "path": "k", "size": opened, "sha256": ""}, dataset("1", value)]
        facts += [{"type": "model_output", "model_id": "m", "step": opened}]
        write(folder, writer, *facts, CLOSE, opened=opened)
        state.update()
    assert (state.params, state.tags, state.start["run_name"]) == ({"k": "early"}, {"k": "late"}, "early")
    assert (state.outcome()[0], state.info().lifecycle_stage) == ("KILLED", "deleted")
    assert [artifact.size for artifact in state.artifacts] == [20]
    assert [d.dataset.source for d in state.datasets] == ["early"]
    assert [output.step for output in state.model_outputs] == [10]


START = {"type": "start", "run_name": "r", "start_time": 1}
END = {"type": "end", "status": "FINISHED", "end_time": 99}
CLOSE = {"type": "close", "points": 0}


def test_a_run_whose_writer_died_without_an_end_has_crashed(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    write(folder, "a" * 16, START)
    assert state_of(folder).outcome() == ("FAILED", None, True)
    info = state_of(folder).info(end_of_points=7_000_000)
    assert (info.status, info.crashed, info.live, info.end_time) == ("FAILED", True, False, 7)


def test_an_episode_begins_when_a_run_is_opened_that_no_other_process_has_open(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    write(folder, "a" * 16, START, *[{"type": "tag", "key": "t", "value": "v"}] * 50, END, CLOSE, opened=100)
    write(folder, "b" * 16, CLOSE, opened=120, role="resume")  # joined it
    write(folder, "c" * 16, CLOSE, opened=300, role="edit")
    assert state_of(folder).episode == 100
    write(folder, "d" * 16, CLOSE, opened=500, role="resume")
    assert state_of(folder).episode == 500


def test_an_open_run_is_running_and_later_crashed_or_ended(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    journal = EventJournal(folder.events, "a" * 16)
    journal.append([{"type": "writer", "role": "create", "locked": True}, START], 1)
    state = state_of(folder)
    assert (state.outcome()[0], state.live) == ("RUNNING", True)
    journal.close()
    state.update()
    assert (state.outcome(), state.live) == (("FAILED", None, True), False)
    write(folder, "b" * 16, END, CLOSE, opened=50, role="resume")
    state.update()
    assert state.outcome() == ("FINISHED", 99, False)


def test_the_last_end_wins_and_edits_and_forks_end_nothing(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    write(folder, "a" * 16, START, END, CLOSE)
    write(folder, "b" * 16, {"type": "tag", "key": "t", "value": "x"}, opened=50, role="edit")
    write(folder, "c" * 16, opened=60, role="fork")
    assert state_of(folder).outcome() == ("FINISHED", 99, False)
    write(folder, "d" * 16, {"type": "end", "status": "KILLED", "end_time": 100}, CLOSE, opened=70, role="resume")
    assert state_of(folder).outcome() == ("KILLED", 100, False)
    write(folder, "e" * 16, opened=80, role="resume")
    assert state_of(folder).outcome() == ("FAILED", None, True)


def test_a_file_cut_anywhere_gives_the_whole_lines_before_the_cut(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    params = [{"type": "param", "key": f"k{n}", "value": "ü"} for n in range(3)]
    write(folder, "a" * 16, START, *params, END, CLOSE)
    path = folder.events / f"{'a' * 16}.jsonl"
    data = path.read_bytes()
    for end in range(len(data) + 1):
        path.write_bytes(data[:end])
        state = state_of(folder)
        whole = data[:end].count(b"\n")
        assert not state.damage
        assert state.exists == (whole > 1)
        assert list(state.params) == [f"k{n}" for n in range(min(3, max(0, whole - 2)))]
        assert state.outcome()[2] == (whole <= 5)


def test_an_artifact_counts_as_lost_until_it_is_logged_again(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    stored = {"type": "artifact", "path": "b", "size": 1, "sha256": "x"}
    lost = [{"type": "lost", "artifact": name, "reason": "disk full"} for name in ("a", "b", "c")]
    write(folder, "a" * 16, START, stored | {"path": "c"}, *lost, {"type": "lost", "points": 3}, stored)
    assert state_of(folder).lost_artifacts == {"a": "disk full", "c": "disk full"}
    assert state_of(folder).lost == 3


def test_a_damaged_line_is_reported_and_the_rest_holds(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    write(
        folder,
        "a" * 16,
        START,
        {"type": "param", "key": "lost", "value": "1"},
        {"type": "tag", "key": "t", "value": "x"},
    )
    path = folder.events / f"{'a' * 16}.jsonl"
    data = path.read_bytes()
    at = data.index(b'"lost"')
    path.write_bytes(data[:at] + b'"most"' + data[at + 6 :])
    state = state_of(folder)
    assert (state.params, state.tags) == ({}, {"t": "x"})
    assert state.damage[0].path == str(path)
    assert state.damage[0].offset == data.rindex(b"\n", 0, at) + 1


def test_lines_without_required_fields_are_reported_and_skipped(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    odd: list[dict[str, Any]] = [
        {"type": "tag", "value": "x"},
        {"type": "param", "key": ["list"], "value": "x"},
        {"type": "metric", "number": "many", "key": "a"},
        {"type": "artifact", "path": "a"},
        {"type": "end"},
        {"type": "lost", "points": "some"},
        {"type": "dataset", "name": "d", "digest": "1"},
        dataset("2", "s", tags=["a tag"]),
        {"type": "model_input"},
        {"type": "model_output", "model_id": "m", "step": "last"},
    ]
    write(folder, "a" * 16, START, *odd, {"type": "tag", "key": "t", "value": "y"})
    state = state_of(folder)
    assert state.tags == {"t": "y"}
    assert (state.datasets, state.model_inputs, state.model_outputs) == ([], [], [])
    assert len(state.damage) == len(odd)
    assert all("of type" in str(error) and error.offset for error in state.damage)


def test_lines_without_a_position_are_damage_and_the_others_hold(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    lines: list[dict[str, Any]] = [
        {"type": "tag"},
        {"seq": "x", "time": 1, "type": "tag"},
        {"seq": 1, "time": 2},
        {"seq": 4, "time": 5, **START},
    ]
    (folder.events / f"{'a' * 16}.jsonl").write_bytes(b"".join(map(encode_line, lines)))
    state = state_of(folder)
    assert state.exists
    assert state.writers["a" * 16].events == 5
    assert len(state.damage) == 3


def test_a_folder_without_events_is_not_a_run(tmp_path: Path) -> None:
    state = RunState(RunFolder(tmp_path / "none"))
    assert state.update() == []
    assert not state.exists
    assert not state.live
