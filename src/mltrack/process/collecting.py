"""The garbage collector, paused while many objects are made that are no garbage."""

from __future__ import annotations

import contextlib
import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["without_collecting"]


@contextlib.contextmanager
def without_collecting() -> Iterator[None]:
    """Pause the collector, which would look through new objects again and again; that can double the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
