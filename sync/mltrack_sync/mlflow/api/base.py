"""What the clients of all parts of MLflow's API share: lists of pairs, loops over pages, and missing things."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from mltrack_sync.errors import RemoteRefusedError
from mltrack_sync.http.shapes import pages, shaped
from mltrack_sync.http.transport import Call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mltrack_sync.http.shapes import Fields
    from mltrack_sync.http.transport import Transport

__all__ = ["API_3", "ApiClient", "ignoring_missing", "in_path", "pairs_of"]

API_3 = "/api/3.0/mlflow/"

T = TypeVar("T")


class ApiClient:
    """Calls over one transport; each method raises RemoteError, as the transport does."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @property
    def transport(self) -> Transport:
        """The transport of its calls."""
        return self._transport

    @property
    def url(self) -> str:
        """The remote's URL as the user knows it."""
        return self._transport.url

    def _read(self, call: str, answer: Fields, read: Callable[[Fields], T]) -> T:
        """What ``read`` makes of the answer to a call.

        Raises:
            NotMlflowError: the answer has an unexpected shape.
        """
        with shaped(self.url, call, answer):
            return read(answer)

    def _pages(
        self, call: str, asked: Mapping[str, Any], name: str, page_rows: int, *, method: str = "GET"
    ) -> Iterator[list[Fields]]:
        """The rows ``name`` of each page of the answer to a call.

        Args:
            call: The path.
            asked: The parameters, with the limit of rows a page.
            name: The field of the answer that holds the rows.
            page_rows: About how many rows make a page.
            method: GET, or POST for a search, which may be repeated as well.
        """

        def ask(token: str) -> dict[str, Any]:
            fields = {**asked, "page_token": token} if token else asked
            if method == "GET":
                return self._transport.get(call, fields)
            return self._transport.post(call, fields, repeatable=True)

        return pages(ask, name, url=self.url, call=call, page_rows=page_rows)

    def _send_3(
        self, method: str, path: str, fields: Mapping[str, Any] | None = None, *, repeatable: bool = True, **more: Any
    ) -> dict[str, Any]:
        """A call of the API's third version; ``more`` is as in Call."""
        body = json.dumps(fields, separators=(",", ":")).encode("ascii") if fields is not None else None
        call = Call(method, API_3 + path, repeatable, body=body, body_bytes=len(body or b""), **more)
        return self._transport.send(call)


def pairs_of(texts: Mapping[str, str]) -> list[dict[str, str]]:
    """Params or tags as MLflow writes them: a list of pairs."""
    return [{"key": key, "value": value} for key, value in texts.items()]


def in_path(text: str) -> str:
    """An id or key as one piece of a URL's path."""
    return quote(text, safe="")


@contextlib.contextmanager
def ignoring_missing() -> Iterator[None]:
    """Wrap a removal: if the server does not have what is to be removed, that is not an error."""
    try:
        yield
    except RemoteRefusedError as error:
        if not error.says_missing:
            raise
