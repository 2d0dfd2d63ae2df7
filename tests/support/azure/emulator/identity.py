"""The managed-identity endpoint that hands out AAD tokens, and the renewal of a run's own token."""

from __future__ import annotations

import datetime
import secrets

from .exchange import Refused, Request, Response, as_json
from .tokens import Tokens

RESOURCES = (
    "https://management.azure.com",
    "https://management.chinacloudapi.cn",
    "https://management.usgovcloudapi.net",
)


class Identity:
    """``header`` is the secret that callers on this machine know."""

    def __init__(self, tokens: Tokens) -> None:
        self.header = secrets.token_hex(16)
        self._tokens = tokens

    def answer(self, request: Request) -> Response:
        """An AAD token."""
        if request.headers.get("x-identity-header") != self.header:
            raise Refused(401, "Unauthorized", "The header X-IDENTITY-HEADER is missing or wrong.")
        query = request.query
        if query.get("api-version") != "2019-08-01":
            raise Refused(400, "InvalidApiVersion", "The api-version must be 2019-08-01.")
        if query.get("resource", "").rstrip("/") not in RESOURCES:
            raise Refused(400, "InvalidResource", f"The resource {query.get('resource')!r} is not known.")
        token = self._tokens.issue("aad")
        return as_json(
            {
                "access_token": token.text,
                "expires_on": str(int(token.expires_at)),
                "resource": query["resource"],
                "token_type": "Bearer",
                "client_id": "00000000-0000-0000-0000-000000000000",
            }
        )

    def renew(self, request: Request) -> Response:
        """Another token for a run."""
        token = self._tokens.issue("run")
        expires = datetime.datetime.fromtimestamp(token.expires_at, datetime.UTC)
        return as_json({"token": token.text, "expiryTimeUtc": expires.isoformat().replace("+00:00", "Z")})
