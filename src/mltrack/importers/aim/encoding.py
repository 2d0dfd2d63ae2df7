"""How aim writes trees into a database: paths as keys, leaves as values with a byte for their type in front.

A path is a row of texts and whole numbers, each followed by the byte 0xFE; a number is 0xFE and eight bytes, the
greatest first. A list and an empty object have a value of their own; so has an object of one of aim's types, whose
fields follow. A field with much in it has an empty value, and its content under the same key with a prefix.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["BLOB", "BLOBS", "Key", "Path", "TypedObject", "decode_path", "decode_value", "encode_path", "fold"]

Key = str | int
Path = tuple[Key, ...]

BLOBS = b"BLOBS\xfe"
"""The prefix of the keys of contents."""

_END = 0xFE
_DEPTH_MAX = 64


@dataclass(frozen=True, slots=True)
class _Sign:
    """A value that is not one, but says what the others are."""

    name: str


BLOB = _Sign("blob")
"""The value of a field whose content is under a key of its own."""

_LIST, _OBJECT = _Sign("list"), _Sign("object")


@dataclass(frozen=True, slots=True)
class TypedObject:
    """An object of one of aim's types, such as ``aim.image``, with its fields."""

    kind: str
    fields: dict[Key, Any]


def encode_path(*path: Key) -> bytes:
    """The key of a path."""
    parts = (
        b"\xfe" + part.to_bytes(8, "big", signed=True) if isinstance(part, int) else part.encode() for part in path
    )
    return b"".join(part + b"\xfe" for part in parts)


def decode_path(key: bytes) -> Path:
    """The path of a key, or of what is left of one after a path before it.

    Raises:
        ValueError: it is not one.
    """
    found: list[Key] = []
    at = 0
    while at < len(key):
        if key[at] == _END:
            if key[at + 9 : at + 10] != b"\xfe":
                raise ValueError("a key is cut short")
            found.append(int.from_bytes(key[at + 1 : at + 9], "big", signed=True))
            at += 10
        else:
            end = key.index(_END, at)
            found.append(key[at:end].decode("utf-8", "replace"))
            at = end + 1
    if len(found) > _DEPTH_MAX:
        raise ValueError("a key is nested too deeply")
    return tuple(found)


def decode_value(data: bytes) -> Any:
    """What a value says.

    Raises:
        ValueError: it is none.
    """
    if not data:
        return BLOB
    kind, rest = data[0], data[1:]
    try:
        match kind:
            case 0:
                return None
            case 1:
                return rest[0] != 0
            case 2:
                return struct.unpack("<q", rest)[0]
            case 3:
                return struct.unpack("<d", rest)[0]
            case 4:
                return rest.decode("utf-8", "replace")
            case 5:
                return rest
            case 6:
                return _LIST
            case 7:
                return _OBJECT
            case 15:
                return TypedObject(rest.decode("utf-8", "replace"), {})
    except (struct.error, IndexError):
        pass
    raise ValueError(f"a value of type {kind} with {len(rest):,} bytes")


@dataclass(slots=True)
class _Node:
    value: Any = _OBJECT
    children: dict[Key, _Node] = field(default_factory=dict)

    def plain(self) -> Any:
        children = {key: child.plain() for key, child in self.children.items()}
        if self.value is _LIST:
            return [children[key] for key in sorted(children, key=lambda key: (isinstance(key, str), key))]
        if isinstance(self.value, TypedObject):
            return TypedObject(self.value.kind, children)
        return children if children or self.value is _OBJECT else self.value


def fold(leaves: Iterable[tuple[Path, Any]]) -> Any:
    """The tree of these leaves: dicts, lists, objects of aim's types, and plain values."""
    root = _Node()
    for path, value in leaves:
        node = root
        for key in path:
            node = node.children.setdefault(key, _Node())
        node.value = value
    return root.plain()
