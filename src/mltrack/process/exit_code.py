"""The exit code of this process, where it is ending by a SystemExit that nobody caught.

Python does not report it: when handlers of ``atexit`` run, the exception is gone. Before that the interpreter does
only one thing with it: it reads its attribute ``code``. So that attribute of the built-in class is replaced by a
descriptor that behaves the same and takes note when no Python code is the reader. That covers ``sys.exit(n)``,
``raise SystemExit(n)``, ``exit(n)``, argparse and click. Python 3.11 makes no object of a ``sys.exit`` that meets no
handler on its way, so ``sys.exit`` is wrapped too. Where an interpreter allows neither, the code is not known.
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
    """The attribute ``SystemExit.code``, read and set as before."""

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
            plain(status)  # type: ignore[arg-type]  # passes on any argument
        finally:  # now the exception is an object
            pass

    exit.__doc__, exit.__module__, exit.__qualname__ = plain.__doc__, "sys", "exit"  # so that it can be pickled
    exit.__annotations__ = {}
    sys.exit = exit


def seen() -> SystemExit | None:
    """An equal exception if the process is ending by a SystemExit; else None."""
    return None if _seen is _UNKNOWN else SystemExit(_seen)


def as_number(code: object) -> int:
    """The system's exit status for the ``code`` of a SystemExit: 0 for None, 1 for a text and all else."""
    if code is None:
        return 0
    if not isinstance(code, int):
        return 1
    return code & 0xFF if -sys.maxsize - 1 <= code <= sys.maxsize else 0xFF
