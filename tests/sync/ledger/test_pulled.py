"""What was pulled is in the ledger, through reopening and rewriting."""

from __future__ import annotations

from pathlib import Path

from mltrack_sync.ledger.ledger import Ledger, LedgerState
from mltrack_sync.ledger.pulled import PulledEntry

URL = "http://there"
RUN, THERE = "ab" * 16, "cd" * 16


def reopened(path: Path) -> LedgerState:
    return LedgerState.read(path, URL)


def test_a_pulled_run_and_its_pages_are_remembered(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path, URL)
    ledger.created(RUN, THERE, "1", "uri", adopted=True)
    ledger.pages_pulled(THERE, RUN, {"m": (25_000, "token"), "n": (50_000, "other")})
    found = reopened(path).pulled[THERE]
    assert (found.run_id, found.fingerprint) == (RUN, "")
    assert found.pages == {"m": (25_000, "token"), "n": (50_000, "other")}
    entry = ledger.pulled(THERE)
    entry.fingerprint, entry.ended = "print", True
    sent = ledger.run(RUN)
    sent.events, sent.points, sent.doubt_all = {"w": 5}, {"w": 7}, False
    ledger.run_pulled(THERE, entry, sent)
    ledger.close()
    state = reopened(path)
    assert state.pulled == {
        THERE: PulledEntry(RUN, "print", True, None, {"m": (25_000, "token"), "n": (50_000, "other")})
    }
    assert (state.runs[RUN].points, state.runs[RUN].doubt_all) == ({"w": 7}, False)


def test_a_rewritten_ledger_has_the_same_content(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path, URL)
    for n in range(600):
        ledger.pages_pulled(THERE, RUN, {"m": (n, f"token {n}")})
        ledger.pages_pulled(RUN, THERE, {"m": (n, f"token {n}")})
    ledger.close()
    assert len(path.read_bytes().splitlines()) == 3
    assert reopened(path).pulled[THERE].pages == {"m": (599, "token 599")}
