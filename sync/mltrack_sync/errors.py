"""What can go wrong with a remote, as types; what to do about each is decided in retry.py and mlflow/workers.py.

RemoteError (mltrack.errors)
├── RemoteUnavailableError    it can't be reached or answers "not now": worth trying again later
│   └── FileNotTakenError     a file's answer was lost too often: the rest goes on
├── RemoteAuthError           401/403 after a refresh: stop, nothing else would go through either (403: see workers.py)
├── NotMlflowError            whatever is at that URL, it does not speak MLflow's REST API
└── RemoteRefusedError        a permanent refusal of one thing, with the server's words: rejected, go on
    └── TooLargeError         refused for its size: send less at once
LedgerError (also StoreError)  what was acknowledged can't be written down: stop
PushStopped                   internal: another worker met an error that stops the sync cycle
"""

from __future__ import annotations

from mltrack.errors import RemoteError, StoreError
from mltrack.text.redaction import hide

__all__ = [
    "FileNotTakenError",
    "LedgerError",
    "NotMlflowError",
    "PushStopped",
    "RemoteAuthError",
    "RemoteRefusedError",
    "RemoteUnavailableError",
    "TooLargeError",
]


class RemoteUnavailableError(RemoteError):
    """The remote can't be reached, or can't answer now.

    ``in_doubt`` says that it may have done what was asked, although no answer came. ``status`` is None when there was
    no answer at all; ``retry_after_s`` is what it asked for. ``timed_out`` says that no answer came for a long time;
    ``not_sent`` that nothing was sent, where in_doubt is not to end the sync cycle.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        in_doubt: bool,
        status: int | None = None,
        retry_after_s: float | None = None,
        timed_out: bool = False,
        not_sent: bool = False,
    ) -> None:
        super().__init__(message, hint=hint)
        self.in_doubt = in_doubt
        self.status = status
        self.retry_after_s = retry_after_s
        self.timed_out = timed_out
        self.not_sent = not_sent

    @property
    def is_unreached(self) -> bool:
        """Whether nobody took the connection, so that nothing else would go through either."""
        return self.status is None and not self.in_doubt


class FileNotTakenError(RemoteUnavailableError):
    """A file was sent as often as is sensible for now, and the remote does not have it."""


class RemoteAuthError(RemoteError):
    """The remote does not let us in, also with a fresh endpoint.

    ``forbidden`` says that it knows who we are (403): it may allow other things.
    """

    def __init__(self, message: str, *, hint: str = "", forbidden: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.forbidden = forbidden


class NotMlflowError(RemoteError):
    """The answer is not one that an MLflow server gives.

    ``unknown_call`` says that the server does not know this call: where it answers others, it is an older one.
    """

    def __init__(self, message: str, *, hint: str = "", unknown_call: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.unknown_call = unknown_call


class RemoteRefusedError(RemoteError):
    """The remote refused one request for good. ``code`` is MLflow's error code, ``words`` what the server said."""

    def __init__(self, message: str, *, status: int, code: str, words: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code
        self.words = hide(words)

    @property
    def is_missing(self) -> bool:
        """Whether the remote does not have what was asked for."""
        return self.status == 404 or self.says_missing

    @property
    def says_missing(self) -> bool:
        """Whether the server knows the call, and says that it has no such thing."""
        return self.code == "RESOURCE_DOES_NOT_EXIST"

    @property
    def unknown_call(self) -> bool:
        """Whether the server does not know this call: where it answers others, it is an older one."""
        return self.status in (404, 405, 501) and not self.says_missing


class TooLargeError(RemoteRefusedError):
    """The request holds more than the remote takes at once."""


class LedgerError(RemoteError, StoreError):
    """The ledger can't be written, so nothing more may be sent."""


class PushStopped(Exception):
    """Raised in a worker when the sync cycle is being stopped; never leaves the package."""
