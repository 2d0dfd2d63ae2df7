"""An endpoint: where requests go, how each is authorised, and until when that holds; and what hands out such."""

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
    """What a workspace hands out.

    Requests go to ``base_url`` + ``/api/2.0/mlflow/...``. ``authorize()`` is asked for headers before each request,
    so that secrets are held nowhere else. ``expires_at`` is in seconds since the epoch; None means it stays.
    ``services`` are base URLs of what else is there, by name.
    """

    base_url: str
    authorize: Callable[[], Mapping[str, str]]
    expires_at: float | None = None
    refresh_ahead_s: float = REFRESH_AHEAD_S
    services: Mapping[str, str] = field(default_factory=dict)

    def is_due(self, now: float) -> bool:
        """Whether it is worth asking for a fresh one."""
        return self.expires_at is not None and self.expires_at - now < self.refresh_ahead_s


class EndpointSource(Protocol):
    """What hands out the endpoints of one remote."""

    @property
    def url(self) -> str:
        """What the user calls it; fit to be shown and stored."""

    @property
    def shared_folder(self) -> str:
        """The folder that this machine shares with the server, by the user's word; "" without one."""

    @property
    def auth_hint(self) -> str:
        """What to do when it does not let us in."""

    def endpoint(self) -> Endpoint:
        """The endpoint to use now.

        Raises:
            RemoteError: it can't be found, or there are no credentials.
        """

    def refresh(self, *, refused: bool = False) -> Endpoint:
        """A fresh endpoint, before the last one expires or after it was ``refused``.

        Raises:
            RemoteAuthError: there is none to be had.
        """

    def tls(self) -> ssl.SSLContext:
        """How its certificate is checked, and with which certificate of ours."""

    def others_tls(self) -> ssl.SSLContext:
        """How the certificates of other hosts are checked that it names, such as an object store."""
