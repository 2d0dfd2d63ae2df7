"""One request and its answer, as every part of the emulator sees them; and a request turned down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl


@dataclass(frozen=True, slots=True)
class Request:
    """``path`` and ``query_string`` are as they came, still quoted; header names are in lower case."""

    method: str
    path: str
    query_string: str
    headers: Mapping[str, str]
    body: bytes
    base_url: str

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.query_string, keep_blank_values=True))

    def fields(self) -> dict[str, Any]:
        """The JSON object in the body."""
        try:
            found = json.loads(self.body or b"{}", parse_constant=_no_number)
        except ValueError as error:
            raise Refused(400, "InvalidJson", f"the body is no JSON: {error}") from error
        if not isinstance(found, dict):
            raise Refused(400, "InvalidJson", "the body is no JSON object")
        return found


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; Content-Length is added when it is sent."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """The request is turned down; ``error_code`` is MLflow's word for it, where there is one."""

    def __init__(self, status: int, code: str, message: str, *, error_code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.error_code = error_code


def as_json(fields: Any, status: int = 200) -> Response:
    return Response(status, json.dumps(fields).encode(), {"Content-Type": "application/json; charset=utf-8"})


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no JSON number")
