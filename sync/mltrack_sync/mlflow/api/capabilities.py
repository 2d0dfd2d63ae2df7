"""What not every server supports: datasets, logged models, traces, scorers. A cycle tries each once; else they wait."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from mltrack_sync.errors import NotMlflowError, RemoteRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "DATASETS",
    "EVALUATION_DATASETS",
    "LABEL_SCHEMAS",
    "LOGGED_MODELS",
    "SCORERS",
    "TABLE_FEATURES",
    "TRACES",
    "Features",
    "UnsupportedFeatureError",
]

DATASETS = "datasets"
LOGGED_MODELS = "logged models"
TRACES = "traces"
EVALUATION_DATASETS = "evaluation datasets"
SCORERS = "scorers"
LABEL_SCHEMAS = "label schemas"
TABLE_FEATURES = frozenset((EVALUATION_DATASETS, SCORERS, LABEL_SCHEMAS))
ALL = (DATASETS, LOGGED_MODELS, TRACES, *TABLE_FEATURES)


class UnsupportedFeatureError(Exception):
    """The remote does not support it; never leaves the package."""

    def __init__(self, feature: str) -> None:
        super().__init__(feature)
        self.feature = feature


class Features:
    """What the remote is found not to support, in one sync cycle. Safe to use from many threads."""

    def __init__(self, known_unsupported: frozenset[str] = frozenset()) -> None:
        self._lock = threading.Lock()
        self._unsupported = set(known_unsupported)
        self._supported: set[str] = set()
        self._asking = {feature: threading.RLock() for feature in ALL}

    @property
    def unsupported(self) -> frozenset[str]:
        """What it does not support, as far as is known by now."""
        with self._lock:
            return frozenset(self._unsupported)

    @contextlib.contextmanager
    def needing(self, feature: str) -> Iterator[None]:
        """Wrap calls that need the feature; if the server does not know such a call, that is remembered.

        Until the first answer, others wait for it.

        Raises:
            UnsupportedFeatureError: the remote does not support it; nothing is sent where that is known.
        """
        with contextlib.ExitStack() as first:
            if feature not in self._supported:
                first.enter_context(self._asking[feature])
            if feature in self.unsupported:
                raise UnsupportedFeatureError(feature)
            with self._asked(feature):
                yield
            self._supported.add(feature)

    @contextlib.contextmanager
    def _asked(self, feature: str) -> Iterator[None]:
        try:
            yield
        except (NotMlflowError, RemoteRefusedError) as error:
            if not error.unknown_call:
                raise
            with self._lock:
                self._unsupported.add(feature)
            raise UnsupportedFeatureError(feature) from error
