"""Requests to end that come at any moment are remembered, those that Python swallows too."""

from __future__ import annotations

import signal
import sys

import pytest

from mltrack.process.shutdown import ShutdownRequested, ShutdownSignal


class SignalsWhenFreed:
    """Gets a signal to its process where Python ignores exceptions."""

    def __init__(self, number: signal.Signals) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)


def test_a_shutdown_request_is_remembered_for_whoever_checks() -> None:
    with ShutdownSignal() as shutdown:
        shutdown.check()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert shutdown.received == [signal.SIGTERM, signal.SIGINT]
        with pytest.raises(ShutdownRequested) as raised:
            shutdown.check()
    assert raised.value.code == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGTERM, ShutdownRequested), (signal.SIGHUP, ShutdownRequested), (signal.SIGINT, KeyboardInterrupt)],
)
def test_a_shutdown_request_raised_in_a_destructor_is_not_lost(
    number: signal.Signals, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    ignored: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: ignored.append(what.exc_type))
    with ShutdownSignal(raises=True) as shutdown:
        SignalsWhenFreed(number)
        assert ignored == [error]
        with pytest.raises(error):
            shutdown.check()
        with pytest.raises(error):
            signal.raise_signal(number)


def test_handlers_are_restored_and_ignored_signals_stay_ignored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ShutdownSignal() as shutdown:
            assert signal.getsignal(signal.SIGTERM) != before
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            signal.raise_signal(signal.SIGHUP)
            assert shutdown.received == []
    finally:
        signal.signal(signal.SIGHUP, ignored)
    assert signal.getsignal(signal.SIGTERM) == before
