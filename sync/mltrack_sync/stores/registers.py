"""Values that were set at a time, of which the later one stands, wherever the two were set."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from mltrack.text.printable import printable
from mltrack.text.shown import shown

__all__ = ["UNSET", "Register", "Registers", "said"]


class Register(NamedTuple):
    """A value and when it was set, in ns; None removes it."""

    time: int
    value: Any

    def loses_to(self, other: Register) -> bool:
        """Whether the other one stands; of two of the same time the greater text, so that both stores decide alike."""
        if self.value == other.value:
            return False
        return (self.time, _text(self.value)) < (other.time, _text(other.value))


UNSET = Register(-1, None)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def said(register: Register) -> str:
    """What a register was set to, as a message says it."""
    return "its removal" if register.value is None else printable(shown(register.value))


class Registers:
    """The present registers of one thing by key, and all that were ever set."""

    def __init__(self) -> None:
        self.held: dict[str, Register] = {}
        self._ever: set[tuple[str, int, str]] = set()

    def set(self, key: str, time: int, value: Any) -> None:
        """Set one; the last call counts, as the last line of a log does."""
        self.held[key] = Register(time, value)
        self._ever.add((key, time, _text(value)))

    def get(self, key: str) -> Register:
        """The present one."""
        return self.held.get(key, UNSET)

    def had(self, key: str, register: Register) -> bool:
        """Whether it was set to that at that time, now or before; not set counts."""
        return register == UNSET or (key, register.time, _text(register.value)) in self._ever

    @property
    def latest(self) -> int:
        """When one was last set."""
        return max((register.time for register in self.held.values()), default=-1)
