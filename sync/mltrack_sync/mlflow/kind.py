"""MLflow servers as a kind of remote; and what other kinds that speak MLflow's API build on."""

from __future__ import annotations

import contextlib
import re
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mltrack.errors import UsageError
from mltrack.text.redaction import remember_url
from mltrack_sync.limits import MLFLOW_LIMITS, Limits
from mltrack_sync.remotes.kind import BASIC_FACTS, MLFLOW

if TYPE_CHECKING:
    from mltrack.store import Store
    from mltrack_sync.ledger.ledger import LedgerState
    from mltrack_sync.mlflow.provider import Workspace
    from mltrack_sync.remotes.kind import PullWork, PushWork, Remote
    from mltrack_sync.remotes.options import PushOptions, VerifyOptions
    from mltrack_sync.report import PendingCounts, PullReport, PushReport, VerifyReport

__all__ = ["MlflowKind"]

_LINKS = frozenset(("dataset", "model_input", "model_output", "series"))
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_SECRET_QUERY = ("token", "password", "auth", "secret", "key", "sig")


class MlflowKind:
    """Any MLflow server over http(s)."""

    @property
    def name(self) -> str:
        """``mlflow``."""
        return MLFLOW

    @property
    def limits(self) -> Limits:
        """MLflow's documented limits."""
        return MLFLOW_LIMITS

    @property
    def settings(self) -> frozenset[str]:
        """``history``: how many points of a metric go; ``workspace``: which of the server's workspaces it is."""
        return frozenset({"history", "workspace"})

    @property
    def takes_tokens(self) -> bool:
        """No: they come from MLflow's own variables."""
        return False

    @property
    def shares_folders(self) -> bool:
        """Yes: a server without an artifact proxy names a folder."""
        return True

    def workspace(self, remote: Remote) -> Workspace:
        """The source of a remote's endpoints, and of the client for it.

        Raises:
            UsageError: its URL is not valid, as in a file that was edited by hand.
        """
        from mltrack_sync.mlflow.provider import MlflowWorkspace

        self.check_url(remote.url)
        return MlflowWorkspace(remote.url, shared_folder=remote.shared_folder, workspace=remote.mlflow_workspace)

    # --- its URLs ---

    def claims(self, url: str) -> bool:
        """Any URL over http(s)."""
        return url.lower().startswith(("http://", "https://"))

    def check_url(self, url: str) -> str:
        """The URL in the form it is kept in.

        Raises:
            UsageError: it is not an http(s) URL, or holds credentials.
        """
        remember_url(url)
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:  # its message may quote a part of a password
            raise UsageError(f"{url!r} is not a URL", hint="give one such as http://host:5000") from None
        if parts.username is not None or parts.password is not None:
            shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
            raise UsageError(
                f"the URL of {shown} holds credentials, and they are never written to disk",
                hint="leave them out; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead",
            )
        if parts.scheme not in ("http", "https") or not host:
            raise UsageError(
                f"{url!r} is not an http(s) URL", hint="give one such as http://host:5000, or the path of a store"
            )
        if parts.query or parts.fragment:
            secret = any(word in parts.query.lower() for word in _SECRET_QUERY)
            why = "may hold credentials, and they are never written to disk" if secret else "is not supported"
            raise UsageError(f"what follows '?' or '#' in the URL of {parts.netloc} {why}", hint="leave it out")
        netloc = parts.netloc.lower().removesuffix(_DEFAULT_PORTS[parts.scheme])
        return parts._replace(netloc=netloc).geturl().rstrip("/")

    def full_url(self, url: str, config: str | None) -> str:
        """The URL itself.

        Raises:
            UsageError: a file was given.
        """
        if config is not None:
            raise UsageError("an MLflow server has no --config file", hint="leave one of them out")
        return url

    def name_for(self, url: str) -> str:
        """A name from its host and port."""
        parts = urlsplit(url)
        text = f"{parts.hostname}-{parts.port}" if parts.port else str(parts.hostname)
        return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:64] or "remote"

    def check_tokens(self, token_file: str, token_command: str) -> None:
        """Refuse both: only Azure ML takes them.

        Raises:
            UsageError: a file or a command was given.
        """
        if token_file or token_command:
            raise UsageError(
                "an MLflow server takes no token file or command", hint="set MLFLOW_TRACKING_TOKEN instead"
            )

    # --- operations ---

    def check_connection(self, remote: Remote) -> None:
        """Find out whether an MLflow server answers, and lets us in.

        Raises:
            RemoteError: it does not.
        """
        from mltrack_sync.http.retry import RetryPolicy
        from mltrack_sync.http.transport import Transport

        policy = RetryPolicy(attempts_max=3, retry_after_max_s=5)
        with contextlib.closing(Transport(self.workspace(remote), policy=policy, connections_max=1)) as transport:
            transport.check_connection()

    def push(self, work: PushWork) -> PushReport:
        """Send what is pending.

        Raises:
            RemoteError: see mltrack_sync.errors.
        """
        from mltrack_sync.mlflow.push.push import push_pending

        return push_pending(work, self.limits, partial(self.workspace, work.remote))

    def find_repairable(self, state: LedgerState) -> tuple[str, ...]:
        """What a comparison found different, and no push has copied since."""
        return tuple(sorted(state.copied.differing))

    def dry_run(self, store: Store, remote: Remote, state: LedgerState, options: PushOptions) -> PushReport:
        """What push would send."""
        from mltrack_sync.mlflow.plan.dry_run import dry_run
        from mltrack_sync.mlflow.plan.history import HistorySetting
        from mltrack_sync.mlflow.plan.pending import Scope

        heads, history = options.selection.heads(store), HistorySetting(options.history, remote.history)
        scope = Scope(store, options.selection, heads, options.retry_rejected, history=history)
        return dry_run(scope, remote, state)

    def count_pending(self, store: Store, remote: Remote, state: LedgerState) -> PendingCounts:
        """What waits for the server, by the ledger."""
        from mltrack_sync.mlflow.plan.counts import count_pending

        return count_pending(store, state, remote)

    def verify(self, store: Store, remote: Remote, state: LedgerState, options: VerifyOptions) -> VerifyReport:
        """Compare what is selected with the server, point by point and file by file.

        Raises:
            RemoteError: see mltrack_sync.errors.
        """
        from mltrack_sync.mlflow.verify.verify import compare

        return compare(store, remote, state, self.workspace(remote), options)

    def compares(self, fact: str) -> bool:
        """All that runs hold today: series are compared as the artifacts that are made of them.

        What a rewind hides is not sent, so it is not compared.
        """
        return fact in BASIC_FACTS or fact in _LINKS or fact in ("fork", "undo_rewind")

    def pull(self, work: PullWork) -> PullReport:
        """Bring what is selected and new on the server into the store.

        Raises:
            RemoteError: see mltrack_sync.errors.
            NotFoundError, FilterError: the selection names what the server does not have, or is not valid.
        """
        from mltrack_sync.mlflow.pull.pull import pull_selected

        return pull_selected(work, self.limits, partial(self.workspace, work.remote))
