"""The code that this process is about to end with, where it ends by a SystemExit that nobody caught.

Python tells nobody: by the time that handlers of ``atexit`` run the exception is gone. The one thing that the
interpreter does with it before is to read its attribute ``code``; so that attribute, of the built-in class, gets a
reader that behaves as the one before and takes note where no Python code is what reads. That covers ``sys.exit(n)``,
``raise SystemExit(n)``, ``exit(n)``, argparse and click. Python 3.11 makes no object of a ``sys.exit`` that meets no
handler on its way; there ``sys.exit`` gets a handler, too. Where an interpreter allows none of that, no code is known.
"""

from __future__ import annotations

import gc
import sys
from typing import Any, NoReturn

__all__ = ["as_number", "seen", "watch"]

_UNKNOWN = object()
_seen: object = _UNKNOWN
_watched = False


class _Code:
    """The attribute ``SystemExit.code``, read and set as ever."""

    def __init__(self, plain: Any) -> None:
        self._plain = plain

    def __get__(self, error: SystemExit | None, kind: type | None = None) -> object:
        if error is None:
            return self._plain
        code = self._plain.__get__(error, kind)
        if sys._getframe().f_back is None:  # read by the interpreter itself, which ends the process next
            global _seen
            _seen = code
        return code

    def __set__(self, error: SystemExit, code: object) -> None:
        self._plain.__set__(error, code)

    def __delete__(self, error: SystemExit) -> None:
        self._plain.__delete__(error)


def watch() -> None:
    """Take note of the code from now on; does nothing when called again."""
    global _watched
    if _watched:
        return
    _watched = True
    if sys.implementation.name != "cpython" or not getattr(sys, "_is_gil_enabled", lambda: True)():
        return
    names = next((held for held in gc.get_referents(SystemExit.__dict__) if isinstance(held, dict)), {})
    forget = getattr(sys, "_clear_internal_caches", None) or getattr(sys, "_clear_type_cache", None)
    if "code" not in names or forget is None:
        return
    names["code"] = _Code(names["code"])
    forget()
    if sys.version_info < (3, 12):
        _handle_exit()


def _handle_exit() -> None:
    plain = sys.exit

    def exit(status: object = None, /) -> NoReturn:
        try:
            plain(status)  # type: ignore[arg-type]  # whatever it is given
        finally:  # having met this, it is an object
            pass

    exit.__doc__, exit.__module__, exit.__qualname__ = plain.__doc__, "sys", "exit"  # so that it can be pickled
    exit.__annotations__ = {}
    sys.exit = exit


def seen() -> int | None:
    """The exit code, where the process is ending by a SystemExit; else None."""
    return None if _seen is _UNKNOWN else as_number(_seen)


def as_number(code: object) -> int:
    """What the system is given for the ``code`` of a SystemExit: 0 for None, 1 for a text and all else."""
    if code is None:
        return 0
    if not isinstance(code, int):
        return 1
    return code & 0xFF if -sys.maxsize - 1 <= code <= sys.maxsize else 0xFF
