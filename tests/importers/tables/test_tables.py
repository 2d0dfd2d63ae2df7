"""Tables as they may be found: wide, long, with several runs, torn, next to a store."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from mltrack.importers.engine import import_source
from mltrack.importers.options import ImportReport
from mltrack.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


def points(store: Store, run: str = "") -> list[tuple[str, int, int, float]]:
    """Name, step, time in ns and value of each point."""
    found: list[tuple[str, int, int, float]] = []
    for each in store.runs():
        if not run or each.info.run_name == run:
            for _, part in each.read_points():
                keys = [part.keys[code] for code in part.codes]
                found += zip(keys, part.steps.tolist(), part.times.tolist(), part.values.tolist(), strict=True)
    return found


def import_text(store: Store, folder: Path, text: str, name: str = "a.csv") -> ImportReport:
    (folder / name).write_text(text)
    return import_source(store, folder / name)


def file_time(path: Path) -> int:
    """When it was changed, in ns, to the millisecond."""
    return path.stat().st_mtime_ns // 1_000_000 * 1_000_000


def test_rows_without_times_keep_the_time_of_the_first_import(tmp_path: Path, store: Store) -> None:
    import_text(store, tmp_path, "step,loss\n1,2\n")
    modified = file_time(tmp_path / "a.csv")
    os.utime(tmp_path / "a.csv", ns=(0, modified + 10**12))
    with (tmp_path / "a.csv").open("a") as file:
        file.write("2,3\n")
    assert import_source(store, tmp_path / "a.csv").points == 1
    assert points(store) == [("loss", 1, modified, 2.0), ("loss", 2, modified, 3.0)]


def test_a_link_that_is_named_is_followed_and_one_that_is_found_is_not(tmp_path: Path, store: Store) -> None:
    (tmp_path / "elsewhere.csv").write_text("step,loss\n1,2\n")
    (tmp_path / "source").mkdir()
    link = tmp_path / "source" / "a.csv"
    link.symlink_to(tmp_path / "elsewhere.csv")
    found = import_source(store, link.parent)
    assert (found.points, len(found.left_out)) == (0, 1)
    assert import_source(store, link).points == 1


def test_wide_rows_are_points_of_the_columns_that_have_numbers(tmp_path: Path, store: Store) -> None:
    report = import_text(store, tmp_path, "step,loss,note,acc\n3,0.5,hello,\n4,,there,0.25\n")
    modified = file_time(tmp_path / "a.csv")
    assert points(store) == [("loss", 3, modified, 0.5), ("acc", 4, modified, 0.25)]
    assert report.left_out == ("a.csv: column 'note', which is not numbers",)
    assert report.complete


def test_long_rows_name_their_metric_and_their_run(tmp_path: Path, store: Store) -> None:
    text = (
        "run,key,step,value,time\na,loss,0,1.5,2024-01-01T00:00:00\nb,loss,7,nan,2024-01-01T00:00:01\na,acc,1,-inf,\n"
    )
    assert import_text(store, tmp_path, text).created == 2
    second = 1_704_067_200 * 10**9
    assert points(store, "a") == [("loss", 0, second, 1.5), ("acc", 1, file_time(tmp_path / "a.csv"), -math.inf)]
    ((key, step, time, value),) = points(store, "b")
    assert (key, step, time, math.isnan(value)) == ("loss", 7, second + 10**9, True)


@pytest.mark.parametrize(
    ("text", "time"), [("1700000000.5", 1_700_000_000_500_000_000), ("1700000000500", 1_700_000_000_500_000_000)]
)
def test_times_are_seconds_or_ms_by_their_size(tmp_path: Path, store: Store, text: str, time: int) -> None:
    import_text(store, tmp_path, f"step,timestamp,loss\n1,{text},2\n")
    assert points(store) == [("loss", 1, time, 2.0)]


def test_times_may_have_a_zone_as_those_of_an_export_have(tmp_path: Path, store: Store) -> None:
    import_text(store, tmp_path, "step,time,loss\n1,2023-11-14 22:13:20.500000001Z,2\n2,2023-11-14T23:13:21+01:00,3\n")
    first = 1_700_000_000_500_000_001
    assert points(store) == [("loss", 1, first, 2.0), ("loss", 2, first + 499_999_999, 3.0)]


def test_without_a_column_of_steps_rows_are_counted(tmp_path: Path, store: Store) -> None:
    import_text(store, tmp_path, "loss\n1\n2\n")
    assert [(step, value) for _, step, _, value in points(store)] == [(0, 1.0), (1, 2.0)]


def test_a_cell_that_is_no_number_far_down_costs_only_itself(tmp_path: Path, store: Store) -> None:
    rows = [f"{step},{step / 2},{'x' * 200}" for step in range(30_000)]  # more than one block
    rows[29_000] = "29000,oops,x"
    report = import_text(store, tmp_path, "\n".join(["step,a,pad", *rows, ""]))
    assert report.problems == ("a.csv: row 29,001: a is 'oops', not a number",)
    assert report.points == 29_999
    assert import_source(store, tmp_path / "a.csv").points == 0


def test_a_row_without_a_step_is_named(tmp_path: Path, store: Store) -> None:
    report = import_text(store, tmp_path, "step,loss\n0,1\n,2\n2,3\n")
    assert report.problems == ("a.csv: row 2: no step (1 such rows from here on)",)
    assert report.points == 2


@pytest.mark.parametrize("text", ["", "\n\n", "step\n"])
def test_a_table_without_points_is_nothing_or_named(tmp_path: Path, store: Store, text: str) -> None:
    report = import_text(store, tmp_path, text)
    assert report.points == 0


@pytest.mark.parametrize(
    "text", ["step;loss\n1;0,5\n2;0,25\n", "step;loss\n1;0.5\n2;0.25\n", "step\tloss\n1\t0.5\n2\t0.25\n"]
)
def test_cells_may_be_separated_by_semicolons_or_tabs(tmp_path: Path, store: Store, text: str) -> None:
    assert import_text(store, tmp_path, text).complete
    assert [(key, step, value) for key, step, _, value in points(store)] == [("loss", 1, 0.5), ("loss", 2, 0.25)]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"step,loss,loss\n1,2,3\n", "1 names are of several columns each, such as 'loss'"),
        ("step,loss\n1,2\n".encode("utf-16"), "its header is not text in UTF-8"),
        (
            b"step,loss,note\n" + (b"1,2," + b"x" * 1000 + b"\n") * 4_500 + b"2,3,\xe9\n",
            "it can't be read further than row",
        ),
    ],
)
def test_a_table_that_can_not_be_read_is_named_and_the_others_come(
    tmp_path: Path, store: Store, data: bytes, words: str
) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "bad.csv").write_bytes(data)
    (folder / "good.csv").write_text("step,loss\n1,2\n")
    os.mkfifo(folder / "pipe.csv")  # which nobody writes to
    report = import_source(store, folder, "csv")
    assert [problem.startswith(f"bad.csv: {words}") for problem in report.problems] == [True]
    assert "good" in [run.info.run_name for run in store.runs()]


def test_a_column_that_is_not_text_costs_only_itself(tmp_path: Path, store: Store) -> None:
    (tmp_path / "a.csv").write_bytes(b"step,loss,note\n1,2,\xe9\n")
    report = import_source(store, tmp_path / "a.csv")
    assert (report.points, report.left_out) == (1, ("a.csv: column 'note', which is not text in UTF-8",))


def test_json_lines_are_flattened_and_torn_ones_named(tmp_path: Path, store: Store) -> None:
    lines = ['{"step": 0, "train": {"loss": 1.5, "n": 2}}', "[1]", '{"step": 1, "train": {"loss": NaN}, "x": "y"}']
    text = "\n".join([*lines, '{"step": 2, "tr'])
    report = import_text(store, tmp_path, text, "log.jsonl")
    assert [(key, step) for key, step, _, _ in points(store)] == [("train/loss", 0), ("train/n", 0), ("train/loss", 1)]
    assert report.problems == ("log.jsonl: line 2 is not an object", "log.jsonl: line 4 is not JSON: torn")


def test_a_table_that_was_rewritten_with_more_columns_is_the_same_run(tmp_path: Path, store: Store) -> None:
    run = tmp_path / "lightning_logs" / "version_0"
    run.mkdir(parents=True)
    (run / "hparams.yaml").write_text("{}\n")
    (run / "metrics.csv").write_text("epoch,step,loss\n0,0,1.0\n")
    assert import_source(store, run.parent).created == 1
    (run / "metrics.csv").write_text("epoch,step,loss,val\n0,0,1.0,\n0,1,0.5,0.75\n")
    report = import_source(store, run)  # the run's own folder, this time
    assert (report.created, report.points) == (0, 3)


def test_hyperparameters_of_any_class_are_params(tmp_path: Path, store: Store) -> None:
    run = tmp_path / "logs" / "version_0"
    run.mkdir(parents=True)
    text = "lr: 0.1\nopt: !!python/object:x.Adam\n  beta: 0.9\nsizes: [1, 2]\nempty: {}\n"
    (run / "hparams.yaml").write_text(text)
    (run / "metrics.csv").write_text("step,loss\n0,1.0\n")
    import_source(store, tmp_path / "logs")
    assert next(store.runs()).params == {"lr": "0.1", "opt/beta": "0.9", "sizes": "[1, 2]", "empty": "{}"}


def test_a_store_next_to_a_table_is_not_part_of_it(tmp_path: Path, store: Store) -> None:
    (tmp_path / "hparams.yaml").write_text("lr: 1\n")
    (tmp_path / "metrics.csv").write_text("step,loss\n0,1.0\n")
    (tmp_path / "last.ckpt").write_bytes(b"x")
    for _ in range(2):
        import_source(store, tmp_path)
    (run,) = store.runs()
    assert [artifact.path for artifact in run.artifacts] == ["hparams.yaml", "last.ckpt"]


def test_files_next_to_a_table_that_is_not_lightnings_stay(tmp_path: Path, store: Store) -> None:
    (tmp_path / "other.txt").write_text("x")
    (tmp_path / "metrics.csv").write_text("step,loss\n0,1.0\n")
    assert import_source(store, tmp_path / "metrics.csv").artifacts == 0
