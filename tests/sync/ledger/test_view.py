from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mltrack_sync.ledger.ledger import Ledger, LedgerState
from mltrack_sync.ledger.registry import VersionEntry
from mltrack_sync.report import Rejected

WRITTEN = 400


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(tmp_path / "ledger.jsonl", "http://h")) as ledger:
        yield ledger


def fill(ledger: Ledger, numbers: range) -> None:
    for number in numbers:
        ledger.rejected(Rejected(f"run {number}", "param", "p", "too long"))
        ledger.creating(f"run {number}")
        ledger.model(f"model {number}", "", {}, {})
        ledger.trace_sent(f"trace {number}", "f")


def test_iterating_while_others_write_gives_a_consistent_snapshot(ledger: Ledger) -> None:
    fill(ledger, range(1000, 3000))
    failures: list[BaseException] = []

    def write() -> None:
        try:
            fill(ledger, range(WRITTEN))
        except BaseException as error:
            failures.append(error)
            raise

    writer = threading.Thread(target=write)
    writer.start()
    view, rounds = ledger.state, 0
    held: tuple[Mapping[Any, object], ...] = (view.rejected, view.runs, view.models)
    while writer.is_alive() or not rounds:
        rounds += 1
        for found in held:
            assert sum(found[key] is value for key, value in found.items()) >= 2000
            assert len(list(found.values())) <= len(list(found)) <= len(found)
        assert len(view.traces.lines()) >= 2000
    writer.join()
    assert not failures
    assert len(view.rejected) == len(view.runs) == 2000 + WRITTEN


def test_an_open_ledger_can_only_be_changed_by_its_methods(ledger: Ledger) -> None:
    fill(ledger, range(2))
    view: Any = ledger.state
    for held in (view.runs, view.models, view.rejected, view.logged, view.fallbacks, view.experiments):
        assert not hasattr(held, "pop")
        with pytest.raises(TypeError):
            held["x"] = 1
    view.traces.done["x"] = "y"
    view.last_pass["x"] = "y"
    assert "x" not in view.traces.done
    assert not view.last_pass


def test_an_open_ledger_shows_the_content_of_its_file(tmp_path: Path, ledger: Ledger) -> None:
    fill(ledger, range(3))
    ledger.forgotten("run 1")
    ledger.model_version(VersionEntry(1, "7", ready=True), "model 0", 1)
    ledger.finished(5, {"runs": 1})
    read, view = LedgerState.read(tmp_path / "ledger.jsonl"), ledger.state
    assert (view.runs, view.models, view.rejected) == (read.runs, read.models, read.rejected)
    assert (view.url, view.traces, view.last_pass, view.last_error) == ("http://h", read.traces, read.last_pass, {})
    assert "run 1" not in view.runs
    assert view.runs.get("run 1") is None
    assert [*view.damage_words(), *view.damage] == []
