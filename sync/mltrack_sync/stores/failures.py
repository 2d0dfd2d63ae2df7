"""Errors as messages: what went wrong on the other side is raised here as the same type, in its words."""

from __future__ import annotations

from typing import Any

from mltrack.errors import (
    BusyError,
    FilterError,
    MltrackError,
    NotFoundError,
    StoreError,
    StoreVersionError,
    UntrustedError,
    UsageError,
)
from mltrack_sync.errors import RemoteUnavailableError
from mltrack_sync.stores.fields import Fields
from mltrack_sync.stores.folders import explain_disk_error
from mltrack_sync.stores.transfer import SourceChangedError, TransferError

__all__ = ["FAILURES", "decode_failure", "encode_failure"]

TEXT_CHARS_MAX = 2000
_CHANGED = "changed"
_UNAVAILABLE = "unavailable"

_TYPES: dict[str, type[MltrackError]] = {
    "not found": NotFoundError,
    "filter": FilterError,
    "usage": UsageError,
    "busy": BusyError,
    "version": StoreVersionError,
    "untrusted": UntrustedError,
    "store": StoreError,
    "transfer": TransferError,
}

"""By their names in messages; a more special type comes before a more general one."""

FAILURES = (MltrackError, OSError)
"""What a store may raise while it answers."""


def encode_failure(error: MltrackError | OSError) -> dict[str, Any]:
    """An error as a message."""
    if isinstance(error, OSError):
        error = explain_disk_error("the store", error)
    if isinstance(error, RemoteUnavailableError):
        return _fields(_UNAVAILABLE, str(error), error.hint)
    if isinstance(error, SourceChangedError):
        return {**_fields(_CHANGED, str(error), error.hint), "path": error.path}
    name = next((name for name, kind in _TYPES.items() if isinstance(error, kind)), "transfer")
    return _fields(name, str(error), error.hint)


def _fields(name: str, message: str, hint: str) -> dict[str, Any]:
    return {"error": name, "message": message[:TEXT_CHARS_MAX], "hint": hint[:TEXT_CHARS_MAX]}


def decode_failure(head: dict[str, Any], where: str) -> MltrackError:
    """The error in a message, with the place where it happened.

    Raises:
        TransferError: it is not one.
    """
    fields = Fields(head)
    if head.get("error") == _CHANGED:
        message, hint = fields.text("message", TEXT_CHARS_MAX), fields.text("hint", TEXT_CHARS_MAX)
        return SourceChangedError(f"{where}: {message}", path=fields.text("path", 4096), hint=hint)
    if head.get("error") == _UNAVAILABLE:
        message, hint = fields.text("message", TEXT_CHARS_MAX), fields.text("hint", TEXT_CHARS_MAX)
        return RemoteUnavailableError(f"{where}: {message}", hint=hint, in_doubt=False, not_sent=True)
    kind = _TYPES.get(fields.text("error", 40), TransferError)
    return kind(f"{where}: {fields.text('message', TEXT_CHARS_MAX)}", hint=fields.text("hint", TEXT_CHARS_MAX))
