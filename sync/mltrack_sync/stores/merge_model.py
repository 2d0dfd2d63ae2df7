"""Merging another store's lines of one logged model into a store's: the lines to be added to its ``model.jsonl``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mltrack.text.printable import printable
from mltrack_sync.stores.registers import Register, Registers, said

if TYPE_CHECKING:
    from collections.abc import Iterable

    Line = dict[str, Any]

__all__ = ["merge_model"]

_FIRST = ("create", "param", "metric")
"""Types of which the first line of a key counts; of the others the last."""


def merge_model(ours: Iterable[Line], theirs: Iterable[Line]) -> tuple[list[Line], list[str]]:
    """The lines to append to ours, without their ``seq``, and what the user should know.

    Args:
        ours: The lines of this store, in order.
        theirs: The lines of the other store, in order.
    """
    own, other = _read(ours), _read(theirs)
    made = other.held.get("create")
    lines: list[Line] = []
    notes: list[str] = []
    for key, register in other.held.items():
        held = own.get(key)
        kind = key.partition(":")[0]
        if key not in own.held:
            if made is None or "create" in own.held or not _is_in(made, key, register):
                lines.append(_line(register))
            continue
        if held.value == register.value:
            continue
        conflict = not (other.had(key, held) or own.had(key, register))
        wins = kind not in _FIRST and held.loses_to(register)
        if conflict:
            stands = said(register if wins else held)
            notes.append(f"{printable(key)} of a logged model was set in both stores: {stands} stands")
        if wins:
            lines.append(_line(register))
    return sorted(lines, key=lambda line: (line["type"] != "create", line["time"])), notes


def _read(lines: Iterable[Line]) -> Registers:
    found = Registers()
    for line in lines:
        key, value = _key(line), {name: field for name, field in line.items() if name not in ("seq", "time", "byte")}
        if line["type"] not in _FIRST or key not in found.held:
            found.set(key, int(line["time"]), value)
        if line["type"] == "create":
            for kind, texts in (("param", line["params"]), ("tag", line["tags"])):
                for name, text in dict(texts).items():
                    given = {"type": kind, "key": name, "value": text}
                    if f"{kind}:{name}" not in found.held:
                        found.set(f"{kind}:{name}", int(line["time"]), given)
    return found


def _is_in(made: Register, key: str, register: Register) -> bool:
    """Whether the line that made the model has a param or tag as it is now."""
    kind, _, name = key.partition(":")
    given = made.value.get(f"{kind}s", {}) if kind in ("param", "tag") else {}
    return register.time == made.time and name in given and given[name] == register.value["value"]


def _key(line: Line) -> str:
    match line["type"]:
        case "param" | "tag" as kind:
            return f"{kind}:{line['key']}"
        case "artifact":
            return f"artifact:{line['path']}"
        case "metric":
            return f"metric:{line['run_id']}:{line['key']}:{line['step']}:{line['ms']}"
        case "create" | "status" | "lifecycle" as kind:
            return str(kind)
        case kind:
            return f"{kind}:{json.dumps(line, sort_keys=True)}"


def _line(register: Register) -> Line:
    return {"time": max(0, register.time), **register.value}
