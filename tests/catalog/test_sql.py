"""store.sql: one reading statement over everything the store holds, and nothing else."""

from __future__ import annotations

import math
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mltrack.catalog.schema import VIEWS
from mltrack.entities import Dataset, DatasetInput
from mltrack.errors import UsageError
from mltrack.journal.points import SEAL_POINTS_MIN
from mltrack.store import Store
from tests.support.written_runs import START_MS, long_run, write_run


def test_metrics_holds_every_point_of_every_run_once(empty_store: Store) -> None:
    runs = [
        write_run(empty_store, metrics={"loss": [(0, 1.0), (0, math.nan)], "größe": [(-5, math.inf)]}),
        long_run(empty_store),
        write_run(empty_store, metrics={"loss": [(step, 1.0) for step in range(SEAL_POINTS_MIN + 7)]}),
    ]
    write_run(empty_store, run_id=runs[1], role="resume", metrics={"loss": [(1, 2.0)]})
    table = empty_store.sql("SELECT * FROM metrics ORDER BY run_id, key, time, step")
    assert table.schema.names == ["run_id", "key", "step", "time", "value"]
    assert table.schema.field("time").type == pa.timestamp("ns", tz="UTC")
    for run_id in runs:
        mine = empty_store.sql("SELECT * FROM metrics WHERE run_id = ? ORDER BY time, step", [run_id])
        theirs = empty_store.run(run_id).metrics().sort_by([("time", "ascending"), ("step", "ascending")])
        assert mine.num_rows == theirs.num_rows
        for key in ("loss", "acc", "größe"):
            ours = mine.filter(np.array(mine.column("key").to_pylist()) == key)
            if ours.num_rows:
                theirs = empty_store.run(run_id).metrics(key).sort_by([("time", "ascending"), ("step", "ascending")])
                for column in ("step", "time"):
                    assert ours.column(column).to_pylist() == theirs.column(column).to_pylist()
                np.testing.assert_array_equal(np.sort(ours.column("value")), np.sort(theirs.column("value")))


def test_the_views_have_their_columns(empty_store: Store) -> None:
    dataset = Dataset("d", "1", "local", "x", "{}")
    used = DatasetInput(dataset, {"mlflow.data.context": "test"})
    write_run(
        empty_store, name="one", params={"p": "1"}, tags={"t": "2"}, metrics={"loss": [(3, 0.5)]}, datasets=[used]
    )
    [row] = empty_store.sql("SELECT * FROM datasets JOIN (SELECT run_id FROM runs) USING (run_id)").to_pylist()
    del row["run_id"]
    assert row == {**asdict(dataset), "context": "test", "tags": [("mlflow.data.context", "test")]}
    assert empty_store.sql("SELECT run_name, status, epoch_ms(start_time) AS at FROM runs").to_pylist() == [
        {"run_name": "one", "status": "FINISHED", "at": START_MS}
    ]
    assert empty_store.sql(
        "SELECT key, value FROM params UNION ALL SELECT key, value FROM tags ORDER BY 1"
    ).to_pylist() == [
        {"key": "p", "value": "1"},
        {"key": "t", "value": "2"},
    ]
    assert empty_store.sql("SELECT key, value, step, min, max, count FROM latest_metrics").to_pylist() == [
        {"key": "loss", "value": 0.5, "step": 3, "min": 0.5, "max": 0.5, "count": 1}
    ]
    assert empty_store.sql("SELECT experiment_id, name FROM experiments").to_pylist() == [
        {"experiment_id": "0", "name": "Default"}
    ]
    assert empty_store.sql("SELECT path, size, sha256, time FROM artifacts").num_rows == 0
    assert empty_store.sql("DESCRIBE metrics").num_rows == 5


@pytest.mark.parametrize(
    "query", ["SHOW TABLES", "show all tables;", "DESCRIBE", "SELECT * FROM (SHOW TABLES) -- with metrics"]
)
def test_every_view_is_listed_and_nothing_else(empty_store: Store, query: str) -> None:
    for _ in range(2):
        assert empty_store.sql(query).column("name").to_pylist() == sorted(VIEWS)
        empty_store.sql("SELECT count(*) FROM metrics")  # leaves nothing behind


def test_a_metric_has_the_name_key_in_every_view(empty_store: Store) -> None:
    write_run(empty_store, metrics={"loss": [(3, 0.5)]})
    for view in ("metrics", "latest_metrics", "alerts"):
        names = empty_store.sql(f"SELECT * FROM {view}").schema.names
        assert "key" in names and "metric" not in names


@pytest.mark.parametrize("query", ["SELECT metric FROM metrics", "SELECT m.metric FROM metrics m ORDER BY metric"])
def test_the_old_name_of_a_points_metric_is_understood(empty_store: Store, query: str) -> None:
    write_run(empty_store, metrics={"loss": [(3, 0.5)]})
    assert empty_store.sql(query).to_pylist() == [{"metric": "loss"}]


def test_metrics_has_all_points_also_where_its_name_is_put_together(empty_store: Store) -> None:
    long_run(empty_store)
    found = empty_store.sql("SELECT count(*) AS n FROM query_table('met' || 'rics')").to_pylist()
    assert found == empty_store.sql("SELECT count(*) AS n FROM metrics").to_pylist() != [{"n": 0}]


@pytest.mark.parametrize(
    ("query", "meant"),
    [
        ("FROM metric", "did you mean metrics? views: runs, "),
        ("FROM foldrs", "views: runs, "),
        ("FROM base.writer", "views: runs, "),
        ("SELECT nme FROM runs", "did you mean run_name? runs: run_id, run_name, "),
        ("SELECT m.kee FROM metrics m", "did you mean key? metrics: run_id, key, step, time, value"),
        ("SELECT status, count(*) FROM runs GROUP BY run_id", "runs: run_id, "),
    ],
)
def test_a_wrong_name_is_answered_with_what_there_is_and_no_internals(
    empty_store: Store, query: str, meant: str
) -> None:
    with pytest.raises(UsageError) as error:
        empty_store.sql(query)
    assert error.value.hint is not None and error.value.hint.startswith(meant)
    for internal in ("Did you mean", "Candidate", "base.", "all_points", "unsealed"):
        assert internal not in f"{error.value} {error.value.hint}"


def test_values_can_be_bound_by_place_and_by_name(empty_store: Store) -> None:
    write_run(empty_store, name="it's")
    assert empty_store.sql("SELECT run_name FROM runs WHERE run_name = ?", ["it's"]).num_rows == 1
    assert empty_store.sql("SELECT run_name FROM runs WHERE run_name = $name", {"name": "it's"}).num_rows == 1


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM base.runs",
        "DROP VIEW runs",
        "CREATE TABLE mine (a INT)",
        "INSERT INTO base.params VALUES ('a', 'b', 'c')",
        "WITH gone AS (DELETE FROM base.params RETURNING *) SELECT * FROM gone",
        "SET enable_external_access = true",
        "ATTACH '{folder}/x.duckdb'",
        "COPY (SELECT 1) TO '{folder}/x.csv'",
        "SELECT * FROM read_text('{secret}')",
        "SELECT * FROM '{secret}'",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM secret_table",
        "INSTALL httpfs",
        "SELECT 1; SELECT 2",
        "",
        "SELEC 1",
        "SELECT nothing FROM runs",
        "SELECT * FROM nowhere",
        "SELECT CAST('x' AS INTEGER)",
    ],
)
def test_anything_but_a_reading_statement_over_the_store_is_refused(
    empty_store: Store, tmp_path: Path, query: str
) -> None:
    write_run(empty_store, params={"p": "1"}, metrics={"loss": [(0, 1.0)]})
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    secret_table = pa.table({"secret": [1]})
    assert secret_table.num_rows == 1
    with pytest.raises(UsageError) as error:
        empty_store.sql(query.format(folder=tmp_path, secret=secret))
    assert "\n" not in str(error.value) and error.value.hint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret.txt", "store"]
    assert empty_store.sql("SELECT * FROM params").num_rows == 1


def test_duckdb_reads_only_segments_whose_every_byte_was_verified(empty_store: Store) -> None:
    good, bad = long_run(empty_store), long_run(empty_store)
    count = "SELECT run_id, count(*) AS n FROM metrics GROUP BY ALL ORDER BY ALL"
    whole = empty_store.sql(count).to_pydict()
    assert whole["n"] == [SEAL_POINTS_MIN + 2] * 2
    segment = next(empty_store.layout.run(bad).segments.iterdir())
    sound = segment.read_bytes()
    for at in (100, len(sound) // 2, len(sound) - 40):
        segment.write_bytes(sound[:at] + bytes([sound[at] ^ 4]) + sound[at + 1 :])
        found = empty_store.sql(count).to_pydict()
        assert found["n"][found["run_id"].index(good)] == SEAL_POINTS_MIN + 2
        assert sum(found["n"]) < sum(whole["n"])  # those of the damaged file are left out, and that is said
        assert [error.path for error in empty_store.damage.values()] == [str(segment)]
        empty_store.damage.clear()
    segment.write_bytes(sound)
    assert empty_store.sql(count).to_pydict() == whole
    assert not empty_store.damage


def test_a_segment_is_verified_once_for_each_change(empty_store: Store) -> None:
    long_run(empty_store)
    empty_store.sql("SELECT count(*) FROM metrics")
    kept = "SELECT name, stamp, fault FROM base.verified"
    first = empty_store.sql(kept).to_pylist()
    assert [row["fault"] for row in first] == [""]
    again = Store.open(empty_store.path)
    again.sql("SELECT count(*) FROM metrics")
    assert again.sql(kept).to_pylist() == first
    segment = next(empty_store.layout.runs.glob("*/segments/*"))
    os.utime(segment)
    again.sql("SELECT count(*) FROM metrics")
    assert again.sql(kept).to_pylist() != first


def test_the_path_of_the_store_may_have_unusual_characters(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "it's a 'store' [x]* größe")
    run_id = long_run(store)
    assert store.sql("SELECT DISTINCT run_id FROM metrics").to_pydict() == {"run_id": [run_id]}
    assert len(store.search_runs(filter_string="artifact_uri LIKE '%größe%'")) == 1


def test_a_query_that_takes_too_long_is_ended(empty_store: Store) -> None:
    write_run(empty_store)
    with pytest.raises(UsageError, match="took longer"):
        empty_store.sql("SELECT count(*) FROM range(100000000) a, range(100000000) b", timeout_s=0.05)
    assert len(empty_store.sql("SELECT * FROM runs", timeout_s=60)) == 1
