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

__all__ = ["CopiedStoreError", "ForeignLakeError", "explain", "lake_errors", "made_again", "no_lake"]

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
    try:
        yield
    except MltrackError:
        raise
    except OSError as error:
        raise explain(place, error) from error
    except _delta_error() as error:  # asked for when something was raised: a look at a folder's files needs no Delta
        raise explain(place, error) from error


def _delta_error() -> type[Exception]:
    from deltalake.exceptions import DeltaError

    return DeltaError


def no_lake(place: str) -> RemoteUnavailableError:
    """That a lake which was pushed to is not there any more; in the words of a store that is not."""
    hint = "connect the disk; where it was removed on purpose: mltrack remote add NEW-NAME URL"
    return RemoteUnavailableError(f"no lake at {place}", hint=hint, in_doubt=False, not_sent=True)


def made_again(place: str, what: str) -> CopiedStoreError:
    """That a lake has less of this store than it once had; ``what`` says of what."""
    hint = "mltrack remote add NEW-NAME URL: a sync with that name sends what the lake does not have"
    return CopiedStoreError(f"{place} has {what}: the lake was restored from a backup, or made again", hint=hint)


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
