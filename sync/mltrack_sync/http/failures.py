"""What a failed request means: every failure of the network and every refusal as one of our errors, with a way out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

from mltrack.text.redaction import hide_in
from mltrack_sync.errors import (
    NotMlflowError,
    RemoteAuthError,
    RemoteRefusedError,
    RemoteUnavailableError,
    TooLargeError,
)
from mltrack_sync.http.responses import capped, error_words, is_too_large, retry_after_s, shown_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mltrack.errors import RemoteError
    from mltrack_sync.http.body import Answer, AnswerTooLargeError
    from mltrack_sync.http.endpoint import EndpointSource

__all__ = ["Failures"]

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_ANSWER_LOST = (
    httpx.ReadTimeout,
    httpx.WriteTimeout,
    httpx.ReadError,
    httpx.WriteError,
    httpx.CloseError,
    httpx.RemoteProtocolError,
)
_DISABLED = "FEATURE_DISABLED"
"""MLflow's code, with status 500, for what the server was started without, which asking again does not change."""

_LATER = (408, 429, 500, 502, 503, 504)
_HAVE_DETAIL = (400, 422, 501)
"""The statuses with which MLflow's OpenTelemetry endpoint gives its reason in the field ``detail``."""


class Failures:
    """The errors for one remote's failed requests."""

    def __init__(self, workspace: EndpointSource, now: Callable[[], float]) -> None:
        """``now`` is in seconds since the epoch, for answers that say when to come again."""
        self._workspace = workspace
        self._url = workspace.url
        self._now = now

    def of_network(self, error: Exception) -> RemoteError:
        """The error for a request that got no answer."""
        hide_in(error)  # it stays in the chain of causes, which a traceback shows
        words = capped(str(error)) or type(error).__name__
        if isinstance(error, _NOT_SENT):
            hint = "is the server running, is the URL right, is there a network? What is recorded stays safe"
            if "CERTIFICATE_VERIFY_FAILED" in words:
                hint = "name the certificate of its authority: REQUESTS_CA_BUNDLE or MLFLOW_TRACKING_SERVER_CERT_PATH"
            elif "WRONG_VERSION_NUMBER" in words:
                hint = "it does not speak https at this port: is its URL one of http:// ?"
            return RemoteUnavailableError(f"{self._url} can't be reached: {words}", hint=hint, in_doubt=False)
        if isinstance(error, _ANSWER_LOST):
            return RemoteUnavailableError(
                f"{self._url} did not answer: {words}",
                hint="run mltrack sync again later",
                in_doubt=True,
                timed_out=_is_timeout(error),
            )
        return NotMlflowError(f"{self._url}: {words}", hint="check the URL of the remote: mltrack remote ls")

    def of_answer(self, method: str, path: str, response: Answer, fields: Mapping[str, Any] | None) -> RemoteError:
        """The error for an answer that is not 200: unauthorised, retry later, redirected, or refused."""
        status = response.status_code
        code, words = error_words(fields)
        if fields is not None and not words and status in _HAVE_DETAIL:
            words = capped(str(fields.get("detail", ""))[:4000])
        if status in (401, 403):
            return RemoteAuthError(
                f"{self._url} says {status} {response.reason_phrase}{': ' + words if words else ''}",
                hint=self._workspace.auth_hint,
                forbidden=status == 403,
            )
        said = words or response.reason_phrase or "nothing more"
        if status in _LATER and code != _DISABLED:
            return RemoteUnavailableError(
                f"{self._url} answered {status}: {said}",
                hint="run mltrack sync again later; what is recorded stays safe",
                in_doubt=status != 429,
                status=status,
                retry_after_s=retry_after_s(response, self._now()),
            )
        if status == 407:
            return RemoteUnavailableError(
                f"the proxy to {self._url} wants user and password",
                hint="give them in the variable that names it: http://user:password@host:port",
                in_doubt=False,
            )
        if response.is_redirect:
            return self.not_mlflow(f"it redirects requests to {shown_url(response.headers['Location'])}")
        if is_too_large(status, words):
            return TooLargeError(f"{self._url} refused {path}: {said}", status=status, code=code, words=said)
        if fields is None or not (code or words) or code == "ENDPOINT_NOT_FOUND":
            unknown = status in (404, 405)
            return self.not_mlflow(f"it answers {status} to {method} {path}", unknown_call=unknown)
        hint = self._workspace.place_hint if "workspace" in said.lower() else ""
        return RemoteRefusedError(
            f"{self._url} refused {path}: {said}", status=status, code=code, words=said, hint=hint
        )

    def not_mlflow(self, what: str, *, unknown_call: bool = False) -> NotMlflowError:
        """The error for a server that speaks something else; ``what`` says why."""
        return NotMlflowError(
            f"{self._url} is not an MLflow server: {what}",
            hint="give the URL that MLFLOW_TRACKING_URI would have, such as http://host:5000",
            unknown_call=unknown_call,
        )

    def of_blob_store(self, error: Exception) -> RemoteUnavailableError:
        """The error for a request to another server that got no answer: its URL, a secret, is not named."""
        return RemoteUnavailableError(
            f"the blob store of {self._url} gives no answer ({type(error).__name__})",
            hint="run mltrack sync again later",
            in_doubt=True,
            timed_out=_is_timeout(error),
            not_sent=isinstance(error, _NOT_SENT),
        )

    def of_blob_answer(self, response: Answer) -> RemoteUnavailableError | None:
        """The error for another server's answer that asks to retry later; None for any other answer."""
        if response.status_code not in _LATER:
            return None
        return RemoteUnavailableError(
            f"the blob store of {self._url} answered {response.status_code}",
            hint="run mltrack sync again later",
            in_doubt=True,
            status=response.status_code,
            retry_after_s=retry_after_s(response, self._now()),
        )

    def of_large_blob_answer(self, error: AnswerTooLargeError) -> RemoteUnavailableError:
        """The error for another server's answer that is larger than it may be."""
        return RemoteUnavailableError(f"the blob store of {self._url} {error}", in_doubt=True, timed_out=True)


def _is_timeout(error: Exception) -> bool:
    """Whether no answer came in time; a connection that can't be made is something else, and known sooner."""
    return isinstance(error, (httpx.ReadTimeout, httpx.WriteTimeout))
