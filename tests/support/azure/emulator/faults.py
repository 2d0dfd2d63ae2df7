"""Misbehaviour by script: which requests, when, and what becomes of them."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from .exchange import Request


@dataclass(frozen=True, slots=True)
class Answer:
    """The emulator answers so itself; the work is not done. Without a body, an error in Azure's shape."""

    status: int
    code: str = "ServiceError"
    message: str = "this fault was asked for"
    retry_after: float | str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class LoseAnswer:
    """The work is done, then the connection is cut, after ``bytes_sent`` bytes of the answer."""

    bytes_sent: int = 0


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection is cut before the work, when ``body_bytes`` of the request's body were read."""

    body_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Slow:
    """Wait ``before_s`` before the work and ``after_s`` after it; else as usual."""

    before_s: float = 0
    after_s: float = 0


@dataclass(frozen=True, slots=True)
class Do:
    """Call this before the work (revoke tokens, move the endpoint, kill a server); else as usual."""

    action: Callable[[], object]


Fault = Answer | LoseAnswer | Cut | Slow | Do


def throttled(retry_after: float | str | None = None) -> Answer:
    """429, with or without Retry-After."""
    return Answer(429, "TooManyRequests", "Rate limit is exceeded. Try again later.", retry_after)


def unavailable(status: int = 503, retry_after: float | None = None) -> Answer:
    """500, 502, 503 or 504."""
    return Answer(status, "ServiceUnavailable", "The service is unavailable.", retry_after)


def unauthorized() -> Answer:
    """401, though the token is good."""
    return Answer(401, "ExpiredAuthenticationToken", "The access token has expired.")


def conflict(message: str = "The resource was changed by somebody else.") -> Answer:
    """409."""
    return Answer(409, "Conflict", message)


@dataclass(slots=True)
class Rule:
    """One line of the script, with what it did so far."""

    kind: str
    fault: Fault
    skip: int
    times: int | None
    every: int
    probability: float
    when: Callable[[Request], bool]
    chance: random.Random
    matched: int = 0
    fired: int = 0

    def fires(self, request: Request, kind: str) -> bool:
        if not fnmatchcase(kind, self.kind) or not self.when(request):
            return False
        self.matched += 1
        if self.matched <= self.skip or (self.times is not None and self.fired >= self.times):
            return False
        if (self.matched - self.skip - 1) % self.every or self.chance.random() >= self.probability:
            return False
        self.fired += 1
        return True


class Faults:
    """The script of one emulator; the first rule that fires decides."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._lock = threading.Lock()

    def on(
        self,
        kind: str,
        fault: Fault,
        *,
        skip: int = 0,
        times: int | None = 1,
        every: int = 1,
        probability: float = 1.0,
        seed: int = 0,
        when: Callable[[Request], bool] = lambda request: True,
    ) -> Rule:
        """Let ``fault`` strike requests whose kind matches the shell pattern ``kind``.

        The first ``skip`` matching requests pass, then every ``every``-th is struck with ``probability`` (drawn from a
        generator seeded with ``seed``), at most ``times`` times; None is without end.
        """
        rule = Rule(kind, fault, skip, times, every, probability, when, random.Random(seed))
        with self._lock:
            self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """No more faults."""
        with self._lock:
            self._rules.clear()

    def pick(self, request: Request, kind: str) -> Fault | None:
        """What strikes this request."""
        with self._lock:
            return next((rule.fault for rule in self._rules if rule.fires(request, kind)), None)
