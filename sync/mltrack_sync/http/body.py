"""An answer, read up to its limit: while it streams, and again while it is decompressed.

Decompression is done here and not by httpx, which decompresses each chunk as a whole: a few kilobytes may become
gigabytes. We ask for gzip and deflate; an answer in any other encoding is refused.
"""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from mltrack.text.redaction import hide

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["ACCEPT_ENCODING", "JSON_BYTES_MAX", "Answer", "AnswerTooLargeError", "json_object", "read_answer"]

ACCEPT_ENCODING = "gzip, deflate"
JSON_BYTES_MAX = 64 << 20
JSON_ITEMS_MAX = 4_000_000
"""The most values in one answer: each takes much more memory than the few bytes it has in JSON."""

DEPTH_MAX = 100
WALKED_MAX = 10_000
"""With more lists and objects, as in a page of rows, depth is not checked: the parser's own limit must do."""

ERROR_BYTES_MAX = 1 << 20
UNPACKED_BYTES_MAX = 256 << 10
"""How much is decompressed at a time."""

_HALF_SIGN = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")
"""A lone surrogate, as JSON may write it; such text can't be sent, stored or shown."""

REDIRECTS = (301, 302, 303, 307, 308)


class AnswerTooLargeError(Exception):
    """An answer that is larger than any valid one; the message says how."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said. ``content`` is empty where it was passed on chunk by chunk."""

    status_code: int
    headers: httpx.Headers
    reason_phrase: str
    content: bytes = b""

    @property
    def text(self) -> str:
        """The content as text."""
        return self.content.decode("utf-8", "replace")

    @property
    def is_redirect(self) -> bool:
        """Whether it redirects the request."""
        return self.status_code in REDIRECTS and "Location" in self.headers


def read_answer(
    response: httpx.Response, *, take: Callable[[bytes], object] | None = None, bytes_max: int | None = JSON_BYTES_MAX
) -> Answer:
    """Read it whole, or pass a good one on chunk by chunk; only then may ``bytes_max`` be None, for no limit.

    Raises:
        AnswerTooLargeError: it is larger.
        httpx.HTTPError: it broke off, or can't be decompressed.
    """
    status, handed_on = response.status_code, take is not None and response.status_code == 200
    most = bytes_max if status < 400 else min(bytes_max or ERROR_BYTES_MAX, ERROR_BYTES_MAX)
    if not handed_on and most is None:
        most = JSON_BYTES_MAX
    parts: list[bytes] = []
    consume = take if take is not None and handed_on else parts.append
    size = 0
    for piece in _unpacked(response, most):
        size += len(piece)
        if most is not None and size > most:
            raise AnswerTooLargeError(f"has an answer of more than {most:,} bytes")
        consume(piece)
    reason = str(response.extensions.get("reason_phrase", b""), "ascii", "replace") or response.reason_phrase
    return Answer(status, response.headers, hide(reason)[:100], b"".join(parts))


def _unpacked(response: httpx.Response, most: int | None) -> Iterator[bytes]:
    assert isinstance(response.stream, httpx.SyncByteStream)
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("", "identity"):
        yield from response.stream
    elif encoding in ("gzip", "x-gzip", "deflate"):
        yield from _inflated(response.stream, encoding == "deflate", most)
    else:
        raise httpx.DecodingError(f"the answer is encoded as {encoding[:40]!r}, which was not asked for")


def _inflated(pieces: httpx.SyncByteStream, is_deflate: bool, most: int | None) -> Iterator[bytes]:
    inflate = zlib.decompressobj() if is_deflate else zlib.decompressobj(zlib.MAX_WBITS | 16)
    packed, is_first = 0, True
    for piece in pieces:
        packed += len(piece)
        if most is not None and packed > most:
            raise AnswerTooLargeError(f"has an answer of more than {most:,} bytes")
        left = piece
        while left and not inflate.eof:
            try:
                out = inflate.decompress(left, UNPACKED_BYTES_MAX)
            except zlib.error as error:
                if not (is_deflate and is_first):
                    raise httpx.DecodingError(f"the answer can't be decompressed: {error}") from error
                inflate = zlib.decompressobj(-zlib.MAX_WBITS)  # some servers mean this by deflate
                continue
            finally:
                is_first = False
            left = inflate.unconsumed_tail
            if out:
                yield out
    yield from _rest(inflate)


def _rest(inflate: Any) -> Iterator[bytes]:
    while not inflate.eof:
        out = inflate.decompress(b"", UNPACKED_BYTES_MAX)
        if not out:
            raise httpx.DecodingError("the answer ends in the middle of its compressed content")
        yield out


def json_object(answer: Answer) -> dict[str, Any] | None:
    """Its fields; None when it is not a JSON object.

    Raises:
        AnswerTooLargeError: it holds more values, or is nested more deeply, than any valid one.
    """
    content = answer.content
    opened = content.count(b"[") + content.count(b"{")
    if content.count(b",") + opened > JSON_ITEMS_MAX:
        raise AnswerTooLargeError(f"has an answer of more than {JSON_ITEMS_MAX:,} values")
    try:
        fields = json.loads(content)
        if _HALF_SIGN.search(content):
            fields = json.loads(json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace"))
    except RecursionError:
        raise AnswerTooLargeError("has an answer that is nested too deeply") from None
    except ValueError:
        return None
    if DEPTH_MAX < opened <= WALKED_MAX:
        _check_depth(fields)
    return fields if isinstance(fields, dict) else None


def _check_depth(value: Any) -> None:
    """Check that recursive functions can walk through it."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(DEPTH_MAX):
        inner = [child for each in level for child in (each.values() if type(each) is dict else each)]
        level = [child for child in inner if type(child) is dict or type(child) is list]
        if not level:
            return
    raise AnswerTooLargeError(f"has an answer that is nested more than {DEPTH_MAX} deep")
