"""A remote, and what a kind of remote is: its URLs, its limits, and how to push to it and compare with it.

The kinds that come with mltrack are in folders of their own; another package adds one by an entry point of the group
``mltrack.remotes``, whose name is the kind's name in remotes.toml and whose value is a class without arguments or an
instance. A kind never changes what another one does with its URLs: the kinds of mltrack are asked first.
"""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from mltrack.disk.trust import Refusal
from mltrack.errors import UsageError
from mltrack_sync.limits import MLFLOW_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mltrack.entities import RunHead
    from mltrack.store import Store
    from mltrack_sync.http.endpoint import EndpointSource
    from mltrack_sync.ledger.ledger import Ledger, LedgerState
    from mltrack_sync.remotes.options import PullOptions, PushOptions, VerifyOptions
    from mltrack_sync.report import PendingCounts, PullReport, PushReport, VerifyReport

__all__ = [
    "BASIC_FACTS",
    "GROUP",
    "MLFLOW",
    "ComparingKind",
    "CountingKind",
    "HttpKind",
    "Kind",
    "PacedKind",
    "PlaceKind",
    "PullKind",
    "PullWork",
    "PushWork",
    "Remote",
    "find_kind",
    "is_place_of_a_kind",
    "is_remote_url",
    "kind_of",
    "rest_after_push_s",
]

GROUP = "mltrack.remotes"
"""The group of entry points by which other packages add kinds."""

MLFLOW = "mlflow"
"""The kind of a remote where remotes.toml names none."""

BASIC_FACTS = frozenset(
    (
        *("writer", "start", "param", "tag", "metric", "artifact", "end", "status", "lifecycle", "lost", "close"),
        *("alert", "alert_action", "stop"),  # an alert is a tag, too
    )
)
"""The events that every kind's verify compares, or that say nothing which a remote could lack."""

_OURS = {
    MLFLOW: "mltrack_sync.mlflow.kind:MlflowKind",
    "azure": "mltrack_sync.azureml.kind:AzureKind",
    "store": "mltrack_sync.stores.kind:StoreKind",
    "bundle": "mltrack_sync.stores.bundle_kind:BundleKind",
    "lake": "mltrack_sync.lake.kind:LakeKind",
}


@dataclass(frozen=True, slots=True)
class Remote:
    """A place to push to. ``kind`` names its protocol; a token's file or command, where Azure tokens come from.

    ``shared_folder`` is a folder of this machine in which the server keeps artifacts; the user named it.
    ``refusal`` says why it is not used, where the user does not trust what the store says of it. ``history`` is how
    many points of a metric it gets, in the sense of docs/sync.md; WHOLE (0) for all, None where nothing was said.
    ``command`` starts mltrack on the remote's machine, where it is reached by ssh; "" for ``mltrack``.
    ``max_artifact_size`` is in bytes: larger artifacts are not copied there, with 0 none at all; None is no limit.
    ``mlflow_workspace`` is the one of an MLflow server's workspaces that it is; "" for the server's default.
    """

    name: str
    url: str
    kind: str = MLFLOW
    token_file: str = ""
    token_command: str = ""
    shared_folder: str = ""
    history: int | None = None
    command: str = ""
    max_artifact_size: int | None = None
    mlflow_workspace: str = ""
    refusal: Refusal | None = field(default=None, compare=False)

    @property
    def place(self) -> str:
        """What its ledger is of: the URL, and the workspace if one is named."""
        return f"{self.url}#workspace={self.mlflow_workspace}" if self.mlflow_workspace else self.url

    @property
    def limits(self) -> Limits:
        """What it takes at once."""
        try:
            return find_kind(self.kind).limits
        except UsageError:  # of a remote of an unknown kind, status can still say how far it is behind
            return MLFLOW_LIMITS

    def require_trust(self) -> None:
        """Check that the remote may be used; call this before any of its settings is.

        Raises:
            UntrustedError: the user does not trust what the store says of it.
        """
        if self.refusal is not None:
            raise self.refusal.error()

    def workspace(self) -> EndpointSource:
        """What hands out its endpoints.

        Raises:
            UsageError: its kind is not known here or has none, or its URL is not a valid one.
            UntrustedError: the user does not trust what the store says of it.
        """
        self.require_trust()
        kind = find_kind(self.kind)
        if not isinstance(kind, HttpKind):
            raise UsageError(f"remote {self.name!r} has no endpoint", hint="only remotes over HTTP have one")
        return kind.workspace(self)


@dataclass(slots=True)
class PushWork:
    """What one sync cycle has to do: the selected part of a store, and the remote with its ledger."""

    store: Store
    remote: Remote
    ledger: Ledger
    options: PushOptions
    found_heads: dict[str, RunHead] | None = None
    """``heads``, where they are known already."""

    @property
    def heads(self) -> dict[str, RunHead]:
        """Of the selected runs, as they were when they were first asked for; a kind that does not ask needs no catalog.

        Raises:
            NotFoundError, FilterError: the selection is not valid.
        """
        if self.found_heads is None:
            self.found_heads = self.options.selection.heads(self.store)
        return self.found_heads


@dataclass(frozen=True, slots=True)
class PullWork:
    """What one pull has to do: bring what is selected on the remote into the store. The ledger is the remote's."""

    store: Store
    remote: Remote
    ledger: Ledger
    options: PullOptions


class Kind(Protocol):
    """A kind of remote."""

    @property
    def name(self) -> str:
        """What remotes.toml calls it."""

    @property
    def limits(self) -> Limits:
        """What a remote of this kind takes at once, and in ``unsupported`` what it is known not to support."""

    @property
    def takes_tokens(self) -> bool:
        """Whether its tokens may come from a file or a command that the user names."""

    @property
    def shares_folders(self) -> bool:
        """Whether it may keep artifacts in a folder that this machine shares with it."""

    def claims(self, url: str) -> bool:
        """Whether this URL, as a user may have typed it, is one of this kind."""

    def check_url(self, url: str) -> str:
        """The URL in the form it is kept in.

        Raises:
            UsageError: it is not a valid one, or holds credentials.
        """

    def full_url(self, url: str, config: str | None) -> str:
        """The whole URL where the user gave a short form of it; ``config`` is a file with the rest.

        Raises:
            UsageError, NotFoundError: a file was given and can't be used here, or it does not exist.
        """

    def name_for(self, url: str) -> str:
        """The name of a remote that was only given as a URL."""

    def check_tokens(self, token_file: str, token_command: str) -> None:
        """Check that tokens can come from these; each is "" where it is not given.

        Raises:
            UsageError: they can't.
        """

    def check_connection(self, remote: Remote) -> None:
        """Find out whether the remote answers as one of this kind, and lets us in.

        Raises:
            RemoteError: it does not.
        """

    def push(self, work: PushWork) -> PushReport:
        """Send what is pending; what was acknowledged is in the ledger when this returns or raises.

        Whatever happens at whatever moment, a later push sends everything else once: what may have arrived without an
        acknowledgement is looked for on the remote, or sent in a way that creates no duplicate.

        Raises:
            RemoteError: the remote can't be reached or does not let us in, or the ledger can't be written.
        """

    def dry_run(self, store: Store, remote: Remote, state: LedgerState, options: PushOptions) -> PushReport:
        """What push would send, by the ledger alone: no request is made and nothing is written."""

    def verify(self, store: Store, remote: Remote, state: LedgerState, options: VerifyOptions) -> VerifyReport:
        """Compare what is selected with the remote; nothing is changed on either side.

        Raises:
            RemoteError: the remote can't be reached, or does not let us in.
        """


@runtime_checkable
class HttpKind(Protocol):
    """A kind whose remotes are reached over HTTP."""

    def workspace(self, remote: Remote) -> EndpointSource:
        """What hands out the endpoints of a remote.

        Raises:
            UsageError: its URL is not a valid one.
        """


@runtime_checkable
class CountingKind(Protocol):
    """A kind that counts what waits itself; of others, ``status`` counts what a dry run says."""

    def count_pending(self, store: Store, remote: Remote, state: LedgerState) -> PendingCounts:
        """What of the store waits for the remote, by the ledger alone: no request is made."""


@runtime_checkable
class RepairingKind(Protocol):
    """A kind whose push, where it is asked to, repairs what its ``verify`` noted in the ledger as different."""

    def find_repairable(self, state: LedgerState) -> tuple[str, ...]:
        """What a push would repair, by the ledger alone: runs/<id> and other units."""


@runtime_checkable
class PacedKind(Protocol):
    """A kind for whose remotes many small pushes are worse than few: continuous pushes keep a distance."""

    @property
    def cycle_interval_s(self) -> float:
        """How long after a cycle that sent something the next one begins, in seconds."""


@runtime_checkable
class ComparingKind(Protocol):
    """A kind that says which facts of a run its ``verify`` compares; of others BASIC_FACTS are assumed."""

    def compares(self, fact: str) -> bool:
        """Whether verify finds every difference in events of this type (docs/format.md)."""


@runtime_checkable
class PullKind(Protocol):
    """A kind whose remotes can be pulled from."""

    def pull(self, work: PullWork) -> PullReport:
        """Bring what is selected and new on the remote into the store; a second pull of the same brings nothing.

        Whatever happens at whatever moment, the store is valid, and a later pull brings the rest once. What is in the
        store and newer is never overwritten.

        Raises:
            RemoteError: the remote can't be reached, or does not let us in.
            NotFoundError, FilterError: the selection names what the remote does not have, or is not valid.
        """


@runtime_checkable
class SourceKind(Protocol):
    """A kind for which an address that can be written to may have nothing to read yet, such as an empty folder."""

    def check_source(self, remote: Remote) -> None:
        """Find out whether there is something to read.

        Raises:
            RemoteError: there is nothing, or it can't be reached.
        """


@runtime_checkable
class PlaceKind(Protocol):
    """A kind that keeps artifacts at addresses of its own, which nobody else can use."""

    def keeps_artifacts(self, uri: str) -> bool:
        """Whether this is such an address."""


def find_kind(name: str) -> Kind:
    """The kind of that name.

    Raises:
        UsageError: no installed package adds one.
    """
    if name in _OURS:
        return _our(name)
    kind = _others().get(name)
    if kind is None:
        raise UsageError(f"remotes of kind {name!r} are not known here", hint="upgrade, or install what adds them")
    return kind


def rest_after_push_s(remote: Remote) -> float:
    """How long a continuous push waits after a cycle that sent something, in seconds."""
    kind = find_kind(remote.kind)
    return kind.cycle_interval_s if isinstance(kind, PacedKind) else 0.0


def kind_of(url: str) -> Kind:
    """The kind of the remote at a URL; where none claims it, MLflow's, which says what is wrong with it."""
    return next((kind for kind in _all() if kind.claims(url)), None) or find_kind(MLFLOW)


def is_remote_url(text: str) -> bool:
    """Whether a text is the URL of a remote of any kind."""
    return (":" in text or "/" in text or text in (".", "..")) and any(kind.claims(text) for kind in _all())


def is_place_of_a_kind(uri: str) -> bool:
    """Whether a kind keeps artifacts at this address in a way of its own, so that a remote of another kind can't."""
    return any(isinstance(kind, PlaceKind) and kind.keeps_artifacts(uri) for kind in _all())


def _all() -> Iterator[Kind]:
    """Those that come with mltrack first; the others are looked for only where none of these claims a URL."""
    yield from map(_our, _OURS)
    yield from _others().values()


@functools.cache
def _our(name: str) -> Kind:
    module, _, attribute = _OURS[name].partition(":")
    return cast("Kind", getattr(import_module(module), attribute)())


def _others() -> dict[str, Kind]:
    return _found_on(tuple(sys.path))


@functools.lru_cache(maxsize=1)
def _found_on(paths: tuple[str, ...]) -> dict[str, Kind]:
    """The kinds that packages on these paths name."""
    from importlib.metadata import entry_points

    found: dict[str, Kind] = {}
    for entry in entry_points(group=GROUP):
        kind = entry.load()
        found[entry.name] = kind() if isinstance(kind, type) else kind
    return found
