"""The retry policy: which errors are retried, how often, and how long to wait in between."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import tenacity

from mltrack_sync.errors import RemoteUnavailableError
from mltrack_sync.http.under_way import UNDER_WAY

__all__ = ["RetryPolicy"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with jitter, never less than the remote's Retry-After (up to a limit).

    ``timeouts_max``: how often a request is retried after a time-out, each of which takes a minute or more.
    """

    attempts_max: int = 8
    timeouts_max: int = 2
    wait_first_s: float = 0.5
    wait_max_s: float = 30.0
    retry_after_max_s: float = 120.0
    sleep: Callable[[float], None] = time.sleep

    def send(self, call: Callable[[], T], *, repeatable: bool, what: str = "") -> T:
        """``call()`` until it succeeds, its error is final, or the attempts are used up (then its last error).

        A call that is not ``repeatable`` is retried only if it certainly had no effect on the remote. ``what`` says to
        people who wait what is waited for; "" where nobody is to be told.
        """
        with UNDER_WAY.waiting(what):
            return self._retrying(lambda error: repeatable or not error.in_doubt)(call)

    def settle(self, call: Callable[[bool], T]) -> T:
        """``call(again)`` until it succeeds or its error is final; for work that checks the remote before repeating.

        ``again`` is True from the second time on: whether the first request arrived is in doubt.
        """
        attempt = 0

        def once() -> T:
            nonlocal attempt
            attempt += 1
            return call(attempt > 1)

        return self._retrying(lambda error: error.in_doubt)(once)

    def _retrying(self, worth_it: Callable[[RemoteUnavailableError], bool]) -> tenacity.Retrying:
        timeouts = 0

        def is_enough(state: tenacity.RetryCallState) -> bool:
            nonlocal timeouts
            error = state.outcome.exception() if state.outcome is not None else None
            timeouts += isinstance(error, RemoteUnavailableError) and error.timed_out
            return state.attempt_number >= self.attempts_max or timeouts >= self.timeouts_max

        return tenacity.Retrying(
            stop=is_enough,
            wait=self._wait,
            retry=tenacity.retry_if_exception(lambda e: isinstance(e, RemoteUnavailableError) and worth_it(e)),
            sleep=self.sleep,
            reraise=True,
        )

    def _wait(self, state: tenacity.RetryCallState) -> float:
        backoff = tenacity.wait_exponential(multiplier=self.wait_first_s, max=self.wait_max_s)(state)
        jitter = tenacity.wait_random(0, backoff / 2)(state)
        error = state.outcome.exception() if state.outcome is not None else None
        asked = error.retry_after_s if isinstance(error, RemoteUnavailableError) else None
        return max(backoff / 2 + jitter, min(asked or 0.0, self.retry_after_max_s))
