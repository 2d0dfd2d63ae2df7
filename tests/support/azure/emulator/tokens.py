"""Bearer tokens: handed out with a life, a number of uses or until they are revoked, and checked on every call."""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from .azure_errors import expired


@dataclass(slots=True)
class Token:
    """``expires_at`` is in seconds since the epoch; ``kind`` is "aad" or "run"."""

    text: str
    kind: str
    expires_at: float
    uses_left: int | None
    revoked: bool = False


class Tokens:
    """Those of one workspace. ``life_s``, ``uses_max`` and ``jwt`` apply to what is issued from then on.

    ``grace_s`` is how long a token is taken after the end of its life, as services allow for clocks that differ.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.life_s: float = 3600
        self.grace_s: float = 0
        self.uses_max: int | None = None
        self.jwt = True
        self.issued: list[Token] = []
        self._now = now
        self._known: dict[str, Token] = {}
        self._lock = threading.Lock()

    def issue(self, kind: str = "aad", *, life_s: float | None = None) -> Token:
        """A new token."""
        expires_at = self._now() + (self.life_s if life_s is None else life_s)
        with self._lock:
            token = Token(self._text(kind, expires_at), kind, expires_at, self.uses_max)
            self._known[token.text] = token
            self.issued.append(token)
        return token

    def revoke(self, kind: str = "") -> None:
        """All issued until now (of that kind) are worth nothing any more."""
        with self._lock:
            for token in self.issued:
                token.revoked |= kind in ("", token.kind)

    def check(self, authorization: str, kinds: tuple[str, ...]) -> None:
        """Turn the request down unless this header carries a token of these kinds that lives."""
        scheme, _, text = authorization.partition(" ")
        with self._lock:
            token = self._known.get(text)
            if scheme != "Bearer" or not text:
                raise expired("Authentication failed: no bearer token was sent.")
            if token is None or token.kind not in kinds:
                raise expired("The access token is invalid: unknown, or not for this audience.")
            if token.revoked or token.expires_at + self.grace_s <= self._now():
                raise expired("The access token expiry UTC time is earlier than current UTC time.")
            if token.uses_left is not None:
                if token.uses_left == 0:
                    raise expired("The access token expiry UTC time is earlier than current UTC time.")
                token.uses_left -= 1

    def _text(self, kind: str, expires_at: float) -> str:
        if not self.jwt:
            return secrets.token_urlsafe(24)
        head = {"typ": "JWT", "alg": "RS256"}
        claims = {
            "aud": "https://management.azure.com",
            "exp": int(expires_at),
            "kind": kind,
            "jti": secrets.token_hex(8),
        }
        return ".".join([_part(head), _part(claims), secrets.token_urlsafe(32)])


def _part(fields: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).rstrip(b"=").decode()
