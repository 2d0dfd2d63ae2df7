"""Reading the fields of an object that somebody else has sent: each of its type and within its bounds."""

from __future__ import annotations

from typing import Any

from mltrack_sync.stores.transfer import TransferError

__all__ = ["Fields", "bad"]

COUNT_MAX = 1 << 62


def bad(what: str) -> TransferError:
    """The error for what the other side must not send."""
    return TransferError(
        f"the other side sent {what}, which is not valid",
        hint="it may be a broken or a hostile program",
    )


class Fields:
    """The fields of one object. Everything here raises TransferError for what is missing or not as it must be."""

    def __init__(self, head: dict[str, Any]) -> None:
        self._head = head

    def text(self, name: str, chars_max: int) -> str:
        """A text."""
        value = self._head.get(name)
        if not isinstance(value, str) or len(value) > chars_max:
            raise bad(f"{name!r}")
        return value

    def number(self, name: str, least: int, most: int) -> int:
        """A whole number."""
        value = self._head.get(name)
        if type(value) is not int or not least <= value <= most:
            raise bad(f"{name!r}")
        return value

    def flag(self, name: str, *, default: bool | None = None) -> bool:
        """True or false; without a default it must be given."""
        value = self._head.get(name, default)
        if not isinstance(value, bool):
            raise bad(f"{name!r}")
        return value

    def items(self, name: str, items_max: int) -> list[Any]:
        """A list of anything."""
        value = self._head.get(name)
        if not isinstance(value, list) or len(value) > items_max:
            raise bad(f"{name!r}")
        return value

    def pairs(self, name: str, items_max: int) -> list[tuple[Any, Any]]:
        """A list of pairs of anything."""
        found: list[tuple[Any, Any]] = []
        for value in self.items(name, items_max):
            if not isinstance(value, list) or len(value) != 2:
                raise bad(f"{name!r}")
            found.append((value[0], value[1]))
        return found

    def texts(self, name: str, items_max: int, chars_max: int) -> tuple[str, ...]:
        """A list of texts."""
        values = self.items(name, items_max)
        if not all(isinstance(value, str) and len(value) <= chars_max for value in values):
            raise bad(f"{name!r}")
        return tuple(values)

    def counts(self, name: str, items_max: int) -> dict[str, int]:
        """An object of counts."""
        value = self._head.get(name)
        if not isinstance(value, dict) or len(value) > items_max:
            raise bad(f"{name!r}")
        if not all(type(count) is int and 0 <= count <= COUNT_MAX for count in value.values()):
            raise bad(f"{name!r}")
        return value
