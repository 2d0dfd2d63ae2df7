"""What a machine may refuse in the midst of a training (disk, descriptors, memory, threads), and saying so safely."""

from __future__ import annotations

import sys

from mltrack.text.printable import printable

__all__ = ["TROUBLE", "say", "words_of"]

TROUBLE = (OSError, MemoryError, RuntimeError, ImportError)
"""What comes of a machine that has run out of something: RuntimeError where no thread can be started, ImportError where
a library can't be loaded. None of mltrack's own errors is one of these."""


def words_of(error: BaseException) -> str:
    """What went wrong, on one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def say(message: str, *args: object) -> None:
    """Warn by logging (a warning could be set to raise); on stderr where that can't be had. Raises nothing."""
    try:
        import logging

        logging.getLogger("mltrack").warning(message, *(printable(x) if isinstance(x, str) else x for x in args))
    except Exception:  # noqa: BLE001  # a handler of the program's own may raise anything, and no training ends for that
        try:
            sys.stderr.write(f"mltrack: {printable(message % args)}\n")
        except Exception:  # noqa: BLE001, S110  # nobody can be warned
            pass
