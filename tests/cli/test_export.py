"""export."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mltrack.cli import main
from mltrack.store import Store
from tests.support.command_line import Cli


def test_export_of_all_writes_a_folder_of_tables(cli: Cli, tmp_path: Path) -> None:
    said = cli("export", "--all", "-o", "out/", "--json").json
    assert (said["runs"], said["points"]) == (3, 63)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "artifacts.parquet",
        "datasets.parquet",
        "metrics.parquet",
        "params.parquet",
        "runs.parquet",
        "tags.parquet",
    ]
    assert pq.read_table(tmp_path / "out" / "metrics.parquet").num_rows == 63


def test_export_refuses_to_overwrite_unless_forced(cli: Cli, tmp_path: Path) -> None:
    assert cli("export", "--all", "-o", "points.csv").code == 0
    before = (tmp_path / "points.csv").read_bytes()
    said = cli("export", "spirals-1", "-o", "points.csv")
    assert said.code == 2
    assert "points.csv exists already" in said.err
    assert (tmp_path / "points.csv").read_bytes() == before
    assert cli("export", "spirals-1", "-o", "points.csv", "--force").code == 0
    assert len((tmp_path / "points.csv").read_text().splitlines()) == 22


def test_export_to_the_standard_output_streams_points(
    small_store: Store, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["export", "spirals-1", "--format", "json", "-o", "-"]) == 0
    lines = capfdbinary.readouterr().out.decode().splitlines()
    assert json.loads(lines[0])["metric"] == "loss"
    assert len(lines) == 21


def test_export_with_a_wrong_name_writes_nothing(cli: Cli, tmp_path: Path) -> None:
    assert cli("export", "spirals-1", "nosuch", "-o", "out/").code == 4
    assert not (tmp_path / "out").exists()


def test_export_skips_and_reports_damage_and_exits_as_partial(cli: Cli, store_with_damage: str) -> None:
    said = cli("export", "--all", "-o", "out/")
    assert said.code == 3
    assert store_with_damage in said.err


def test_runs_that_a_filter_chooses_are_exported(cli: Cli, tmp_path: Path) -> None:
    place = str(tmp_path / "out.csv")
    assert cli("export", "-e", "spirals", "-f", "params.lr = '0.2'", "-o", place, "--json").json["runs"] == 1
    nothing = cli("export", "-f", "metrics.loss > 1e9", "-o", str(tmp_path / "no.csv"))
    assert (nothing.code, "no runs match" in nothing.err) == (4, True)
    assert cli("export", "spirals-1", "-f", "metrics.loss > 0", "-o", place).code == 2


def test_all_runs_may_be_filtered_but_not_named(cli: Cli) -> None:
    assert len(cli("export", "--all", "-f", "params.lr = '0.2'", "-o", "-").out) > 50
    assert "can't be combined" in cli("export", "--all", "spirals-1").err
