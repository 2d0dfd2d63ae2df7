"""Exit codes: the one place where an error becomes a number and a message."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

import click

from mltrack.cli.command_names import NoSuchCommandError, what_was_meant
from mltrack.errors import BusyError, MltrackError, NotFoundError, RemoteError, StoreError, UsageError
from mltrack.text.commands import PARTIAL
from mltrack.text.printing import mute, say, styled

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BROKEN_PIPE", "EXIT_CODES", "FAILURE", "INTERRUPTED", "PARTIAL", "USAGE", "exit_code", "report"]

FAILURE = 1
USAGE = 2
INTERRUPTED = 130
BROKEN_PIPE = 141

EXIT_CODES = {
    0: "done",
    FAILURE: "failed, or a check found something wrong",
    USAGE: "the command line, a filter or a value is invalid; nothing was changed",
    PARTIAL: "partly done: the rest is listed",
    4: "no such store, run, experiment, artifact or remote",
    5: "the store can't be used as it is: damaged, newer than this mltrack, or not permitted",
    6: "another process holds a lock",
    7: "a remote refused, or can't be reached",
    INTERRUPTED: "interrupted (Ctrl-C)",
    BROKEN_PIPE: "broken pipe: the output's reader has ended",
}
"""What each code means, for `mltrack --help` and docs/cli.md."""

_DISK_HINTS = {
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "check its permissions, and how its disk is mounted"),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room, then try again"),
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR), "check the path"),
    errno.EISDIR: "it is a folder: name a file",
    errno.EEXIST: "give another name, or remove it",
    errno.EMFILE: "close programs, or allow more open files by ulimit -n",
}
"""What to do about errors of the disk for which no command has words of its own."""

_BY_TYPE: tuple[tuple[type[BaseException], int], ...] = (
    (UsageError, USAGE),
    (NotFoundError, 4),
    (StoreError, 5),
    (BusyError, 6),
    (RemoteError, 7),
    (MltrackError, FAILURE),
    (click.UsageError, USAGE),
    (click.ClickException, FAILURE),
    (click.Abort, INTERRUPTED),
    (KeyboardInterrupt, INTERRUPTED),
    (BrokenPipeError, BROKEN_PIPE),
    (OSError, FAILURE),
)


def exit_code(error: BaseException) -> int:
    """The exit code for an error; FAILURE for any that is not in the table."""
    return next((code for kind, code in _BY_TYPE if isinstance(error, kind)), FAILURE)


_NO_COMMAND: tuple[type[click.UsageError], ...] = tuple(
    kind for kind in [getattr(click.exceptions, "NoArgsIsHelpError", None)] if kind is not None
)
"""What click raises for ``mltrack`` alone: its message is the whole help. Versions before 8.2 print it themselves."""


def report(error: BaseException) -> None:
    """Print what went wrong and what to do, each on one line, to standard error."""
    try:
        if isinstance(error, _NO_COMMAND):
            for line in error.format_message().splitlines():
                say(line, err=True)
            return
        for head, text in _lines_of(error):
            looks = {"error": "red", "hint": "cyan"}.get(head)
            line = " ".join(text.split("\n"))
            if looks:
                say(styled(f"{head}:", fg=looks, bold=True), f" {line}", err=True)
            else:
                say(line, err=True)
    except OSError:  # nothing can be printed; the exit code remains
        mute(sys.stderr)


def _lines_of(error: BaseException) -> Iterator[tuple[str, str]]:
    match error:
        case MltrackError():
            yield "error", str(error)
            if error.hint:
                yield "hint", error.hint
        case NoSuchCommandError():
            yield "error", error.format_message()
            yield "hint", error.hint
        case click.UsageError():
            if error.ctx is not None:
                yield "", error.ctx.get_usage()
            words, hint = what_was_meant(error)
            yield "error", words
            if hint:
                yield "hint", hint
        case click.ClickException():
            yield "error", error.format_message()
        case BrokenPipeError() | KeyboardInterrupt() | click.Abort():
            pass
        case OSError():
            name = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
            yield "error", f"{name}{error.strerror or error}"
            yield "hint", _DISK_HINTS.get(error.errno or 0, "check the path, and the disk that it is on")
