"""A ledger that was written once, by an earlier mltrack, and broken off in mid-push, is understood for ever."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mltrack.store import Store
from mltrack_sync import Remote, Remotes, push
from mltrack_sync.ledger.ledger import LedgerState
from mltrack_sync.remotes.ledgers import ledger_path, read_ledger
from mltrack_sync.status import status_of

GOLDEN = Path(__file__).parent
EXPECTED: dict[str, Any] = json.loads((GOLDEN / "ledger_v1.json").read_text(encoding="utf-8"))
"""What the mltrack that wrote the ledger said of it: counts of its dry run, what was rejected, what status counted."""

COUNTS = ("runs", "created", "params", "tags", "points", "datasets", "models", "model_versions", "logged_models")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A copy, with a remote whose ledger it is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(GOLDEN / "ledger_v1", tmp_path / "store")
    return Store.open(tmp_path / "store")


@pytest.fixture
def remote(store: Store) -> Remote:
    remote = Remotes(store).get("there")
    assert remote.url == EXPECTED["url"]
    return remote


def test_a_dry_run_gives_what_it_gave_when_the_ledger_was_written(store: Store, remote: Remote) -> None:
    report = push(store, remote, dry_run=True)
    assert {name: getattr(report, name) for name in COUNTS} == {name: EXPECTED[name] for name in COUNTS}
    assert report.in_doubt == 1000  # one request was on its way
    assert (report.artifacts, report.traces, report.problems) == (EXPECTED["artifacts"], EXPECTED["traces"], ())
    rejected = [[item.run_id, item.kind, item.key, item.points] for item in report.rejected]
    assert sorted(rejected) == EXPECTED["rejected"]


def test_status_counts_what_it_counted_then(store: Store, remote: Remote) -> None:
    status = status_of(store, remote)
    assert (status.runs_on_remote, status.pending_points) == (EXPECTED["runs_there"], EXPECTED["pending_points"])
    assert (status.pending_traces, status.damage) == (EXPECTED["pending_traces"], ())


def test_requests_in_flight_at_the_interruption_are_in_doubt(store: Store, remote: Remote) -> None:
    doubts = [entry.doubt for entry in read_ledger(store, remote).runs.values() if entry.doubt]
    assert len(doubts) == 1
    assert [end > 0 for end in doubts[0].values()] == [True]


def test_a_compacted_ledger_has_the_same_content(store: Store, remote: Remote) -> None:
    state = LedgerState.read(ledger_path(store, remote))
    again = LedgerState()
    for line in state.compacted():
        again.apply(line)
    for name in ("url", "runs", "experiments", "models", "logged", "fallbacks", "traces", "rejected", "last_pass"):
        assert getattr(again, name) == getattr(state, name), name
