"""What came in: every request, counted by kind, with what it carried and how it was answered."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(slots=True)
class Seen:
    """One request. ``status`` is None when the connection was cut; bodies sent to the blob store are not kept here."""

    number: int
    kind: str
    method: str
    path: str
    query_string: str
    headers: Mapping[str, str]
    body_bytes: int = 0
    body: bytes = b""
    status: int | None = None
    fault: str = ""


class Traffic:
    """All that one emulator has seen, in order of arrival."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self._lock = threading.Lock()

    def arrived(self, kind: str, method: str, path: str, query_string: str, headers: Mapping[str, str]) -> Seen:
        with self._lock:
            seen = Seen(len(self.seen) + 1, kind, method, path, query_string, dict(headers))
            self.seen.append(seen)
        return seen

    def of(self, kind: str) -> list[Seen]:
        """The requests whose kind matches this shell pattern."""
        with self._lock:
            return [seen for seen in self.seen if fnmatchcase(seen.kind, kind)]

    def count(self, kind: str = "*", status: int | None = None) -> int:
        """How many there were, or how many were answered with ``status``."""
        return sum(status in (None, seen.status) for seen in self.of(kind))

    def kinds(self) -> Counter[str]:
        """How many of each kind."""
        with self._lock:
            return Counter(seen.kind for seen in self.seen)

    def clear(self) -> None:
        """Forget them, to look at what comes next."""
        with self._lock:
            self.seen.clear()
