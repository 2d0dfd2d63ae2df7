"""What not every server has: datasets, logged models, traces. Each is asked for once in a pass; else they wait."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from mltrack_sync.errors import NotMlflowError, RemoteRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DATASETS", "LOGGED_MODELS", "TRACES", "Features", "UnsupportedFeatureError"]

DATASETS = "datasets"
LOGGED_MODELS = "logged models"
TRACES = "traces"


class UnsupportedFeatureError(Exception):
    """The remote does not have it; never leaves the package."""

    def __init__(self, feature: str) -> None:
        super().__init__(feature)
        self.feature = feature


class Features:
    """What the remote is found to lack in one pass. Safe to use from many threads."""

    def __init__(self, known_lacking: frozenset[str] = frozenset()) -> None:
        self._lock = threading.Lock()
        self._lacking = set(known_lacking)
        self._there: set[str] = set()
        self._asking = {feature: threading.RLock() for feature in (DATASETS, LOGGED_MODELS, TRACES)}

    @property
    def lacking(self) -> frozenset[str]:
        """What it lacks, as far as is known by now."""
        with self._lock:
            return frozenset(self._lacking)

    @contextlib.contextmanager
    def needing(self, feature: str) -> Iterator[None]:
        """For the body, which asks the remote for it: an answer that nobody knows such a call is remembered.

        Until the first answer, others wait for it.

        Raises:
            UnsupportedFeatureError: the remote does not have it; nothing is sent where that is known.
        """
        with contextlib.ExitStack() as first:
            if feature not in self._there:
                first.enter_context(self._asking[feature])
            if feature in self.lacking:
                raise UnsupportedFeatureError(feature)
            with self._asked(feature):
                yield
            self._there.add(feature)

    @contextlib.contextmanager
    def _asked(self, feature: str) -> Iterator[None]:
        try:
            yield
        except (NotMlflowError, RemoteRefusedError) as error:
            if not error.unknown_call:
                raise
            with self._lock:
                self._lacking.add(feature)
            raise UnsupportedFeatureError(feature) from error
