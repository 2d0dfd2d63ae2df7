"""What can go wrong, as types: every error names the thing and has a hint on what to do.

MltrackError
├── UsageError (also ValueError)     misuse by the caller: raised at once, nothing was written
│   ├── AlreadyExistsError           the name is taken
│   ├── InvalidMetricError           a value that is not a number, an empty or non-text key, a non-integer step
│   ├── ParamConflictError           a param that already has another value
│   ├── InvalidPathError             an artifact name that would leave its folder
│   └── FilterError                  a search filter or order that does not parse
├── MissingPackageError              what is asked for needs a package that is not installed: the hint names the extra
├── NotFoundError (also LookupError) no such store, run, experiment, artifact, remote
├── StoreError                       the store can't be used as it is
│   ├── UntrustedError               a store that others may have written, or a command that it names
│   ├── StoreVersionError            written by a newer mltrack
│   └── CorruptionError              bytes that fail their checksum, with path and offset
├── RunStateError                    the run is not in a state that allows this
├── BusyError                        another process holds a lock for longer than allowed
└── RemoteError                      a remote refused, or can't be reached (see mltrack_sync.errors)
"""

from __future__ import annotations

from mltrack.text.printable import printable
from mltrack.text.redaction import hide

__all__ = [
    "AlreadyExistsError",
    "BusyError",
    "CorruptionError",
    "FilterError",
    "InvalidMetricError",
    "InvalidPathError",
    "MissingPackageError",
    "MltrackError",
    "MltrackWarning",
    "NotFoundError",
    "ParamConflictError",
    "RemoteError",
    "RunStateError",
    "StoreError",
    "StoreVersionError",
    "UntrustedError",
    "UsageError",
]


class MltrackError(Exception):
    """Base of every error mltrack raises on purpose.

    ``str(error)`` names the thing, with what may steer a terminal shown escaped; ``error.hint`` says what to do about
    it (may be empty). Both are without secrets, whatever words of a library or a server they are made of.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(printable(hide(message), lines=True))
        self.hint = printable(hide(hint), lines=True) if hint else ""
        if self.hint:
            self.add_note(f"hint: {self.hint}")  # shown below the traceback


class UsageError(MltrackError, ValueError):
    """The call itself is wrong; nothing was written."""


class AlreadyExistsError(UsageError):
    """The name is taken: an experiment or a registered model of that name exists."""


class InvalidMetricError(UsageError):
    """A metric's value is not a number, its key not a non-empty text, or its step not a 64-bit integer."""


class ParamConflictError(UsageError):
    """A param was logged again with another value: params can't change (MLflow's rule)."""


class InvalidPathError(UsageError):
    """A name from outside that would leave the folder it belongs in."""


class FilterError(UsageError):
    """A search filter or ordering that does not parse or asks for what can't be compared."""


class MissingPackageError(MltrackError):
    """A package is not installed because it comes with an extra of mltrack; the hint names the extra.

    It is not an ``ImportError``: a machine short of memory or descriptors raises that, and recording survives it.
    """


class NotFoundError(MltrackError, LookupError):
    """The named store, run, experiment, artifact or remote does not exist."""


class StoreError(MltrackError):
    """The store can't be read or written as it is."""


class UntrustedError(StoreError):
    """What another user's store asks for, or a command that a store names: not done unless the user trusts it."""


class StoreVersionError(StoreError):
    """The store was written in a newer format than this mltrack knows."""


class CorruptionError(StoreError):
    """Bytes that fail their checksum or shape. ``path`` and ``offset`` (in bytes, or None) say where."""

    def __init__(self, message: str, *, path: str, offset: int | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.path = path
        self.offset = offset


class RunStateError(MltrackError):
    """The run can't take this call in its present state (it has ended, or is deleted)."""


class BusyError(MltrackError):
    """Another process holds the lock that is needed."""


class RemoteError(MltrackError):
    """Base of what goes wrong while talking to a remote."""


class MltrackWarning(UserWarning):
    """Something was lost or left out and the program goes on: said once, counted, and reported at the end."""
