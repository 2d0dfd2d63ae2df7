"""Lines of a store's files that say what can't be, with right checksums."""

from __future__ import annotations

import json
import zlib

from mltrack.disk.codec import decode_line

HOSTILE: list[str] = [
    "null", "true", "1e999", "-1e999", "NaN", "-1", "1.5", "0", "281474976710656", "9223372036854775807",
    "-9223372036854775808", "18446744073709551616", "1" + "0" * 40, '""', '"\\ud800"', '"\\u0000"', '"../../x"', '"x"',
    "[]", "{}", "[[[]]]", '{"a":{"a":[1e999]}}', '[1,"2"]', '{"":null}', "[" * 90 + "]" * 90,
]  # fmt: skip
"""JSON as text, since some of it is nothing that a line of ours could be encoded from."""


def crc_line(text: str) -> bytes:
    body = text[1:].encode()
    return b'{"crc":"%08x",%b\n' % (zlib.crc32(body), body)


def poisoned(line: bytes, field: int, value: str) -> bytes:
    """The line with one field that says something else, and a right checksum."""
    fields = decode_line(line)
    name = list(fields)[field % len(fields)]
    parts = [f"{json.dumps(key)}:{value if key == name else json.dumps(fields[key])}" for key in fields]
    return crc_line("{" + ",".join(parts) + "}")
