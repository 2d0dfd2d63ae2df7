"""A cap on bytes per second, with a clock and a sleep of the test's own."""

from __future__ import annotations

import threading

import pytest

from mltrack.errors import UsageError
from mltrack_sync.errors import PushStopped
from mltrack_sync.http.rate_limit import RateLimiter, parse_rate


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_bytes_are_sent_no_faster_than_allowed_and_unchanged() -> None:
    clock = Clock()
    pace = RateLimiter(1_000_000, clock=clock, sleep=clock.sleep)
    body = bytes(range(256)) * 20_000
    assert b"".join(pace.spread(iter([body[:7], body[7:]]))) == body
    assert clock.now - 100 == pytest.approx(len(body) / 1e6 - 0.25)


def test_a_pause_saves_up_no_more_than_a_quarter_second() -> None:
    clock = Clock()
    pace = RateLimiter(1000, clock=clock, sleep=clock.sleep)
    clock.now += 3600
    pace.take(250)
    assert clock.now == 3700
    pace.take(1000)
    assert clock.now == 3701


def test_a_clock_set_back_delays_nothing() -> None:
    clock = Clock()
    pace = RateLimiter(1000, clock=clock, sleep=clock.sleep)
    pace.take(250)
    clock.now -= 50
    pace.take(100)
    assert clock.now == pytest.approx(50.1)


def test_a_stop_ends_a_wait_at_once() -> None:
    stop = threading.Event()
    waiting: list[BaseException] = []

    def wait() -> None:
        try:
            RateLimiter(1).until(stop).take(10**9)  # thirty years
        except PushStopped as error:
            waiting.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    stop.set()
    thread.join(30)
    assert len(waiting) == 1


def test_stoppable_work_shares_the_limit() -> None:
    clock = Clock()
    pace = RateLimiter(1000, clock=clock, sleep=clock.sleep)
    pace.until(threading.Event()).take(250)
    pace.take(1000)
    assert clock.now == 101


@pytest.mark.parametrize(("text", "rate"), [("2M", 2e6), ("500k", 5e5), ("1.5MB/s", 1.5e6), ("7", 7), ("1 G", 1e9)])
def test_rates_are_parsed(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "fast", "-1", "0", "2T"])
def test_what_is_not_a_rate_is_reported(text: str) -> None:
    with pytest.raises(UsageError, match="is not a rate"):
        parse_rate(text)
