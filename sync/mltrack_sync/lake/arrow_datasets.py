"""Arrow's datasets, imported without pandas: that takes longer than the rows, and as much memory as the engine.

``pyarrow._dataset`` imports pandas wherever it is installed, and uses nothing of it before somebody asks for a frame;
then pandas is imported as ever.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

__all__ = ["arrow_datasets"]


class _Hidden:
    """An importer that finds nothing, and ends the search for one module in one thread."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread = threading.get_ident()

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == self._name and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@contextlib.contextmanager
def _hidden(name: str) -> Iterator[None]:
    finder = _Hidden(name)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def arrow_datasets() -> ModuleType:
    """The module ``pyarrow.dataset``."""
    with _hidden("pandas"):  # nothing changes where pandas is there already
        import pyarrow.dataset
    datasets: ModuleType = pyarrow.dataset
    return datasets
