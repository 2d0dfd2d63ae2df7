"""What the tools answer, and that each answer is bounded."""

from __future__ import annotations

import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltrack.environment import COMMAND_TAG
from mltrack.errors import NotFoundError, UsageError
from mltrack.recording import current_store, fluent
from mltrack.store import Store
from mltrack_sync.mcp import answers
from mltrack_sync.mcp.sampling import sample
from tests.support.written_runs import START_MS, write_run


def test_a_search_gives_chosen_columns_or_all(small_store: Store) -> None:
    found = answers.search_runs(
        small_store, "metrics.accuracy > 0.3", ["min(loss)"], [], ["loss", "min(metrics.loss)", "params.lr", "none"], 1
    )
    assert found["more"] is True
    (run,) = found["runs"]
    assert (run["run_name"], run["params.lr"], run["min(metrics.loss)"], run["none"]) == (
        "spirals-3",
        "0.2",
        1 / 22,
        None,
    )
    everything = answers.search_runs(small_store, "", [], ["spirals"], [], 10)
    assert everything["runs"][0]["params"] == {"lr": "0.2", "layers": "3"}
    assert everything["more"] is False
    with pytest.raises(UsageError, match="limit is 201"):
        answers.search_runs(small_store, "", [], [], [], 201)


def test_runs_are_compared_with_a_baseline(small_store: Store) -> None:
    found = answers.compare_runs(small_store, ["spirals-2", "spirals-3"], "spirals-1")
    assert [run["run_name"] for run in found["runs"]] == ["spirals-1", "spirals-2", "spirals-3"]
    accuracy = next(row for row in found["metrics"] if row["metric"] == "accuracy")
    assert accuracy["percent"] == [0.0, 100.0, 200.0]
    assert found["params_that_differ"]["lr"] == ["0.1", "0.1", "0.2"]
    with pytest.raises(UsageError, match="1 runs to compare"):
        answers.compare_runs(small_store, ["spirals-1"], "")


def test_a_crashed_run_is_said_to_be_one_in_each_answer(empty_store: Store) -> None:
    crashed = write_run(empty_store, name="crashed", tags={COMMAND_TAG: "train"}, start_ms=START_MS + 1)
    (path,) = empty_store.layout.run(crashed).events.iterdir()
    path.write_bytes(b"".join(line for line in path.read_bytes().splitlines(True) if b'"type":"end"' not in line))
    other = write_run(empty_store, name="other")
    heads = answers.search_runs(empty_store, "", [], [], [], 2)["runs"]
    compared = answers.compare_runs(empty_store, [crashed, other], "")["runs"]
    assert [run["status"] for run in heads] == [run["status"] for run in compared] == ["CRASHED", "FINISHED"]
    assert answers.get_run(empty_store, crashed)["status"] == "CRASHED"
    assert answers.logs(empty_store, crashed, 1, 0)["status"] == "CRASHED"


def test_logs_sql_groups_and_experiments_are_answered(small_store: Store) -> None:
    assert answers.logs(small_store, "spirals-1", 1, 0)["text"] == "step 2\n"
    rows = answers.sql(small_store, "SELECT run_name FROM runs ORDER BY 1 -- all of them", 2)
    assert rows == {"columns": ["run_name"], "rows": [["spirals-1"], ["spirals-2"]], "more": True}
    with pytest.raises(UsageError):
        answers.sql(small_store, "DROP TABLE runs", 2)
    groups = answers.group_runs(small_store, ["lr"], ["last(accuracy)"], "", [])["groups"]
    assert [group["runs"] for group in groups] == [2, 1]
    assert answers.list_experiments(small_store)["experiments"][0]["runs"] == 3
    assert answers.sync_status(small_store) == {"remotes": []}


def test_a_long_answer_is_cut_and_says_so(empty_store: Store) -> None:
    many = {f"name-{n}": "x" * 2_000 for n in range(300)}
    run_id = write_run(empty_store, params=many, tags=many, metrics={"loss": [(0, math.nan)]})
    found = answers.get_run(empty_store, run_id)
    assert len(json.dumps(found, indent=2, ensure_ascii=False)) <= answers.ANSWER_CHARACTERS_MAX + 200
    assert found["left_out"]
    assert found["counts"]["params"] == 300
    assert found["metrics"]["loss"]["value"] == "NaN"


def test_of_a_long_log_the_end_is_given(empty_store: Store) -> None:
    current_store.set_store(empty_store.path)
    with fluent.start_run(run_name="long") as run:
        run.log_text("x" * answers.ANSWER_CHARACTERS_MAX + "end\n", "user_logs/std_log.txt")
    found = answers.logs(empty_store, "long", 1, 0)
    assert found["text"].endswith("xend\n")
    assert len(found["text"]) + found["left_out_characters"] == answers.ANSWER_CHARACTERS_MAX + 4
    assert found["left_out_characters"] > 0


def test_a_history_shows_spikes_and_is_not_longer_than_asked(empty_store: Store) -> None:
    values = [1.0] * 5_000
    values[1_234] = 99.0
    current_store.set_store(empty_store.path)
    with fluent.start_run(run_name="long") as run:
        run.log_series("loss", values)
    found = answers.metric_history(empty_store, "long", "loss", 50)
    assert found["sampled"] is True
    assert found["count"] == 5_000
    assert len(found["points"]) <= 50
    assert [1_234, 99.0] in [[step, value] for step, _, value in found["points"]]
    with pytest.raises(NotFoundError):
        answers.metric_history(empty_store, "long", "lass", 50)


@given(st.lists(st.floats(allow_nan=True), min_size=1, max_size=60), st.integers(1, 70))
def test_a_sample_has_first_last_least_and_greatest(values: list[float], most: int) -> None:
    count = len(values)
    table = pa.table({"step": range(count), "time": np.arange(count), "value": pa.array(values, from_pandas=False)})
    found = sample(table, most)
    assert len(found) <= most
    assert [step for step, _, _ in found] == sorted({step for step, _, _ in found})
    if count <= most:
        assert [step for step, _, _ in found] == list(range(count))
    elif most >= 4:
        kept, known = [value for _, _, value in found], [value for value in values if not math.isnan(value)]
        assert (found[0][0], found[-1][0]) == (0, count - 1)
        if known and len(known) == count:
            assert (min(kept), max(kept)) == (min(known), max(known))
