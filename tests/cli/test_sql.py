"""sql: tables in a terminal and in a pipe, JSON, CSV."""

from __future__ import annotations

import csv
import io

import pyarrow as pa
import pytest

from mltrack.cli import main
from mltrack.store import Store
from mltrack.text.arrow_cells import cells, records
from tests.support.command_line import Cli
from tests.support.terminal import in_terminal

QUERY = "SELECT run_name, value FROM latest_metrics JOIN runs USING (run_id) WHERE key = 'accuracy' ORDER BY value"
TIME_NS = 1_764_426_720_696_427_769


def test_sql_prints_a_table_json_and_csv(cli: Cli) -> None:
    assert [line.split() for line in cli("sql", QUERY).out.splitlines()][1] == ["spirals-1", "0.25"]
    assert cli("sql", QUERY, "--json").json[2] == {"run_name": "spirals-3", "value": 0.75}


def test_sql_csv_is_written_to_standard_output(small_store: Store, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["sql", QUERY, "--csv"]) == 0
    said = capfdbinary.readouterr().out.decode()
    assert list(csv.reader(io.StringIO(said)))[1] == ["spirals-1", "0.25"]


def test_a_pipe_gets_times_in_utc_to_the_last_digit_and_maps_as_json() -> None:
    times = pa.chunked_array([pa.array([TIME_NS, None], pa.timestamp("ns", "UTC"))])
    tags = pa.chunked_array([pa.array([[("größe", "1")], None], pa.map_(pa.string(), pa.string()))])
    nested = pa.chunked_array([pa.array([{"at": TIME_NS}, None], pa.struct({"at": pa.timestamp("ns", "UTC")}))])
    flags = pa.chunked_array([[True, None]])
    assert cells(times) == ["2025-11-29T14:32:00.696427769Z", ""]
    assert cells(tags) == ['{"größe": "1"}', ""]
    assert cells(nested) == ['{"at": "2025-11-29T14:32:00.696427+00:00"}', ""]
    assert cells(flags) == ["true", ""]
    table = pa.table({"time": times, "tags": tags})
    assert records(table)[0] == {"time": "2025-11-29T14:32:00.696427769Z", "tags": {"größe": "1"}}


@pytest.mark.slow
@pytest.mark.parametrize("width", [80, 200])
def test_every_view_is_readable_in_a_terminal(small_store: Store, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    for view in ("runs", "metrics", "latest_metrics"):
        shown = in_terminal(small_store.path, "sql", f"SELECT * FROM {view} LIMIT 2", width=width)
        table = shown.split("not shown")[0].splitlines()
        assert all(len(line) <= width for line in table)
        assert table[2].count("+05:30") >= 1, "a local time is shown to its end"
    assert "experiment_name" in in_terminal(small_store.path, "sql", "FROM runs", width=width)
