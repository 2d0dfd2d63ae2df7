"""What an answer touched and could not verify is left out of it and said; the other runs are there."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from mltrack.cli.app import main
from mltrack.disk.codec import encode_line
from mltrack.errors import CorruptionError
from mltrack.store import Store
from tests.support.written_runs import long_run, write_run


@pytest.fixture
def bad(empty_store: Store) -> Path:
    """The segment, with a flipped bit, of one of two runs."""
    write_run(empty_store, name="good", metrics={"loss": [(0, 0.5)]})
    run_id = long_run(empty_store)
    segment = next(empty_store.layout.run(run_id).segments.iterdir())
    data = bytearray(segment.read_bytes())
    data[200] ^= 1
    segment.write_bytes(data)
    return segment


def test_a_search_says_which_parts_of_its_runs_it_could_not_verify(
    empty_store: Store, bad: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "mltrack"):
        assert len(empty_store.search_runs()) == 2
        assert len(empty_store.search_runs()) == 2
    assert [bad.name in record.getMessage() for record in caplog.records] == [True]  # once
    assert [error.path for error in empty_store.damage.values()] == [str(bad)]
    other = Store.open(empty_store.path)
    assert len(other.search_runs(filter_string="attributes.run_name = 'good'")) == 1
    assert not other.damage


def test_a_repaired_file_is_read_again(empty_store: Store, bad: Path) -> None:
    assert [len(run.data.metrics) for run in empty_store.search_runs()].count(0) == 1
    data = bytearray(bad.read_bytes())
    data[200] ^= 1
    bad.write_bytes(data)
    other = Store.open(empty_store.path)
    assert all(run.data.metrics for run in other.search_runs())
    assert not other.damage


@pytest.mark.parametrize(
    "command",
    [["ls"], ["show", "{run}"], ["metrics", "{run}"], ["compare", "{run}", "good"], ["sql", "select 1 from metrics"]],
    ids=lambda words: words[0],
)
def test_commands_report_damage_on_stderr_and_exit_with_3(
    empty_store: Store, bad: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.format(run=bad.parents[1].name) for word in command]
    assert main(["--store", str(empty_store.path), *words]) == 3
    said = capsys.readouterr()
    assert f"warning: not in the output: {bad}" in said.err
    assert "warning" not in said.out


def test_an_unreadable_run_is_reported_and_the_others_are_found(
    empty_store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write_run(empty_store, name="good", metrics={"loss": [(0, 0.5)]})
    bad = write_run(empty_store, name="bad")
    folder = empty_store.layout.run(bad)
    os.rename(folder.events, folder.path / "elsewhere")
    folder.events.write_bytes(b"a file where the folder should be")
    assert [run.run_id for run in empty_store.search_runs()] == [good]
    assert [run.run_id for run in empty_store.runs()] == [good]
    with pytest.raises(CorruptionError, match="can't be read"):
        empty_store.run(bad)
    root = str(empty_store.path)
    for words in (
        ["ls"],
        ["seal"],
        ["export", "--all", "-o", str(empty_store.path.parent / "out")],
        ["sync", "--dry-run"],
    ):
        if words[0] == "sync":
            words.insert(1, "http://127.0.0.1:9")
        assert main(["--store", root, *words]) == 3, words
        assert f"run {bad} can't be read" in capsys.readouterr().err
    assert main(["--store", root, "check"]) == 1
    assert bad in capsys.readouterr().out


def test_an_unexpected_error_in_a_fold_costs_one_run_and_not_the_others(empty_store: Store) -> None:
    good = write_run(empty_store, name="good")
    odd = write_run(empty_store, name="odd")
    path = next(empty_store.layout.run(odd).events.iterdir())
    lines = [
        {"seq": 0, "time": 1, "type": "writer", "role": "create", "host": "h", "pid": 1, "locked": True},
        {
            "seq": 1,
            "time": 2,
            "type": "start",
            "run_name": "\x00\ud800",
            "experiment_id": "0",
            "start_time": -(1 << 63),
        },
        {"seq": 2, "time": 3, "type": "tag", "key": "\ud800", "value": "\x00"},
        {"seq": 3, "time": 4, "type": "lost", "points": (1 << 48) - 1},
        {"seq": 4, "time": 4, "type": "lost", "points": (1 << 48) - 1},
        {"seq": 5, "time": 5, "type": "end", "status": "FINISHED", "end_time": (1 << 63) - 1},
    ]
    path.write_bytes(b"".join(map(encode_line, lines)))
    assert good in {run.run_id for run in empty_store.search_runs()}
    assert main(["--store", str(empty_store.path), "ls"]) == 0
    assert main(["--store", str(empty_store.path), "show", odd]) == 0
