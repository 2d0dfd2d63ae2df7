"""What a machine may run out of during training (disk, descriptors, memory, threads), and how to warn of it."""

from __future__ import annotations

import sys

from mltrack.text.printable import printable

__all__ = ["TROUBLE", "say", "words_of"]

TROUBLE = (OSError, MemoryError, RuntimeError, ImportError)
"""What a machine that has run out of something raises: RuntimeError where no thread can be started, ImportError where
a library can't be loaded. None of mltrack's own errors is one of these."""


def words_of(error: BaseException) -> str:
    """What went wrong, on one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def say(message: str, *args: object) -> None:
    """Warn by logging (a warning might be set to raise), or on stderr if that fails; never raises."""
    try:
        import logging

        logging.getLogger("mltrack").warning(message, *(printable(x) if isinstance(x, str) else x for x in args))
    except Exception:  # noqa: BLE001  # a handler of the program's own may raise anything, and no training ends for that
        try:
            sys.stderr.write(f"mltrack: {printable(message % args)}\n")
        except Exception:  # noqa: BLE001, S110  # no way is left to warn
            pass
