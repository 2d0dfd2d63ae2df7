"""An endpoint: where requests go, how each is authorised, and until when that is valid; and the source of endpoints."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

__all__ = ["Endpoint", "EndpointSource"]

REFRESH_AHEAD_S = 300.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a workspace provides.

    Requests go to ``base_url`` + ``/api/2.0/mlflow/...``. ``authorize()`` is asked for headers before each request,
    so that secrets are held nowhere else. ``expires_at`` is in seconds since the epoch; None means never.
    ``services`` are the base URLs of the remote's other services, by name.
    """

    base_url: str
    authorize: Callable[[], Mapping[str, str]]
    expires_at: float | None = None
    refresh_ahead_s: float = REFRESH_AHEAD_S
    services: Mapping[str, str] = field(default_factory=dict)

    def is_due(self, now: float) -> bool:
        """Whether a fresh one should be asked for."""
        return self.expires_at is not None and self.expires_at - now < self.refresh_ahead_s


class EndpointSource(Protocol):
    """The source of one remote's endpoints."""

    @property
    def url(self) -> str:
        """The URL as the user knows it; without secrets, so it may be shown and stored."""

    @property
    def shared_folder(self) -> str:
        """The folder that this machine shares with the server, as the user configured it; "" without one."""

    @property
    def auth_hint(self) -> str:
        """What to do when the remote refuses our credentials."""

    @property
    def place_hint(self) -> str:
        """What to do when the remote speaks of a workspace that is missing; "" where there is nothing to do."""

    def endpoint(self) -> Endpoint:
        """The endpoint to use now.

        Raises:
            RemoteError: it can't be found, or there are no credentials.
        """

    def refresh(self, *, refused: bool = False) -> Endpoint:
        """A fresh endpoint, before the last one expires or after it was ``refused``.

        Raises:
            RemoteAuthError: no fresh endpoint can be had.
        """

    def tls(self) -> ssl.SSLContext:
        """How its certificate is checked, and which client certificate is used."""

    def others_tls(self) -> ssl.SSLContext:
        """How the certificates of other hosts that it names are checked, such as an object store's."""
