"""What the storage of a lake answers when something fails, as errors of a remote that say what to do."""

from __future__ import annotations

import contextlib
import errno
import re
from typing import TYPE_CHECKING

from mltrack.errors import MltrackError, RemoteError
from mltrack.text.redaction import hide
from mltrack_sync.errors import RemoteAuthError, RemoteUnavailableError
from mltrack_sync.stores.folders import explain_disk_error

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CopiedStoreError", "ForeignLakeError", "explain", "lake_errors"]

_DENIED = (
    "AccessDenied",
    "403",
    "Forbidden",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "401",
    "Unauthorized",
    "AuthorizationFailure",
    "AuthenticationFailed",
)
_NO_CREDENTIALS = ("not loaded", "credential", "Credential", "169.254.169.254", "metadata.google.internal")
_WORDS_MAX = 400
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class ForeignLakeError(RemoteError):
    """What is at the place is not a lake of mltrack's, or not one that this mltrack can use."""


class CopiedStoreError(RemoteError):
    """Another store with the same id writes to the lake."""


@contextlib.contextmanager
def lake_errors(place: str) -> Iterator[None]:
    """Make errors of the storage those of a remote; ``place`` is the folder or URL.

    Raises:
        RemoteUnavailableError: it can't be reached, or refused something for now.
        RemoteAuthError: it does not let us in.
    """
    from deltalake.exceptions import DeltaError

    try:
        yield
    except MltrackError:
        raise
    except (DeltaError, OSError) as error:
        raise explain(place, error) from error


def explain(place: str, error: Exception) -> RemoteError:
    """The error of a remote that an error of the storage is."""
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL) and "://" not in place:
        return explain_disk_error(place, error)
    words = hide(" ".join(_COLOURS.sub("", str(error)).split()))[:_WORDS_MAX]
    if any(word in words for word in _NO_CREDENTIALS):
        hint = "log in with the cloud's own tool, or set its environment variables (docs/lake/storage.md)"
        return RemoteAuthError(f"{place}: no credentials: {words}", hint=hint)
    if any(word in words for word in _DENIED):
        return RemoteAuthError(f"{place} refuses access: {words}", hint="check what the credentials may do")
    return RemoteUnavailableError(f"{place}: {words}", hint="try again later", in_doubt=False)
