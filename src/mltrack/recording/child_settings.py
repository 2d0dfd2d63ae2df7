"""What children of multiprocessing inherit that are not forked (spawn, forkserver).

Such a child gets nothing of its parent but what is pickled with its ``Process``. That has a mapping for settings that
children inherit. What is put there is pickled when the child is started, in the thread that starts it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from mltrack.process.exits import PACKAGES
from mltrack.process.trouble import TROUBLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping
    from typing import Any

__all__ = ["inherited", "offer"]


class _Offer:
    """Pickled, it is bytes: a child that logs nothing does not even import mltrack."""

    def __init__(self, find: Callable[[], bytes]) -> None:
        self._find = find

    def __reduce__(self) -> tuple[type[bytes], tuple[bytes]]:
        return bytes, (self._find(),)


def offer(name: str, find: Callable[[], bytes]) -> None:
    """Let the children that this process starts inherit what ``find`` returns when they are started."""
    try:
        import multiprocessing.process  # noqa: F401  # a program may well import it after its run has started
    except TROUBLE:
        return  # then it can start no such children
    for settings in _settings():
        settings[name] = _Offer(find)


def inherited(name: str) -> bytes:
    """What the process that started this one offered; nothing if multiprocessing did not start it as a new program."""
    for settings in _settings():
        found = settings.get(name)
        if isinstance(found, bytes) and found:
            return found
    return b""


def _settings() -> Iterator[MutableMapping[str, Any]]:
    """What children inherit, of the standard library's multiprocessing and the copy of it that is in use."""
    for package in PACKAGES:
        module = sys.modules.get(f"{package}.process")
        settings = getattr(module.current_process(), "_config", None) if module is not None else None
        if isinstance(settings, dict):
            yield settings
