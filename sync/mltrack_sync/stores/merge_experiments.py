"""Merging another store's experiments into a store's: the lines to be added to ``workspace/experiments.jsonl``.

An experiment is the same in both where its id is. Of its name, stage and tags the later setting stands. Where another
experiment has its name, it gets the end of its id added to it in this store only, as runs carry the id.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mltrack.entities import ACTIVE, DEFAULT_EXPERIMENT_ID, DEFAULT_EXPERIMENT_NAME
from mltrack.text.printable import printable
from mltrack_sync.stores.registers import Register, Registers, said

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Line = dict[str, Any]

__all__ = ["merge_experiments"]

NAME, STAGE, TAG = "name", "stage", "tag:"


@dataclass(slots=True)
class _Experiment:
    created: int
    location: str = ""
    registers: Registers = field(default_factory=Registers)

    @property
    def name(self) -> str:
        return str(self.registers.get(NAME).value)


@dataclass(slots=True)
class _Workspace:
    experiments: dict[str, _Experiment] = field(default_factory=dict)
    removed: dict[str, int] = field(default_factory=dict)


def merge_experiments(ours: Iterable[Line], theirs: Iterable[Line]) -> tuple[list[Line], list[str]]:
    """The lines to append to ours, and what the user should know.

    Args:
        ours: The lines of this store, in order.
        theirs: The lines of the other store, in order.
    """
    own, other = _read(ours), _read(theirs)
    names = {experiment.name: id_ for id_, experiment in own.experiments.items()}
    lines: list[Line] = []
    notes: list[str] = []
    for id_, experiment in other.experiments.items():
        mine = own.experiments.get(id_)
        if mine is None and own.removed.get(id_, -1) >= experiment.registers.latest:
            continue
        if mine is None:
            lines += _created(id_, experiment, names, notes)
        else:
            lines += _changed(id_, mine, experiment, names, notes)
    for id_, at in other.removed.items():
        mine = own.experiments.get(id_)
        if mine is not None and id_ not in other.experiments and at > mine.registers.latest:
            lines.append({"experiment_id": id_, "time": at, "type": "remove"})
            notes.append(f"experiment {printable(mine.name)!r} was removed for good in the other store, and now here")
    return lines, notes


def _read(lines: Iterable[Line]) -> _Workspace:
    found = _Workspace()
    default = _Experiment(-1)
    default.registers.set(NAME, -1, DEFAULT_EXPERIMENT_NAME)
    default.registers.set(STAGE, -1, ACTIVE)
    found.experiments[DEFAULT_EXPERIMENT_ID] = default
    for line in lines:
        id_, at = str(line["experiment_id"]), int(line["time"])
        if line["type"] == "create":
            made = found.experiments[id_] = _Experiment(at, str(line.get("artifact_location", "")))
            made.registers.set(NAME, at, line["name"])
            made.registers.set(STAGE, at, ACTIVE)
            for key, value in dict(line.get("tags") or {}).items():
                made.registers.set(f"{TAG}{key}", at, value)
            continue
        held = found.experiments.get(id_)
        if held is None:
            continue
        match line["type"]:
            case "remove":
                del found.experiments[id_]
                found.removed[id_] = at
            case "rename":
                held.registers.set(NAME, at, line["name"])
            case "lifecycle":
                held.registers.set(STAGE, at, line["stage"])
            case "tag":
                held.registers.set(f"{TAG}{line['key']}", at, line["value"])
    return found


def _created(id_: str, theirs: _Experiment, names: dict[str, str], notes: list[str]) -> Iterator[Line]:
    """The lines that make an experiment as it is in the other store."""
    name = _free_name(theirs.name, id_, names)
    if name != theirs.name:
        notes.append(
            f"experiment {printable(theirs.name)!r} of the other store is {printable(name)!r} here:"
            " another experiment has its name"
        )
    names[name] = id_
    at_once = {
        key.removeprefix(TAG): register.value
        for key, register in theirs.registers.held.items()
        if key.startswith(TAG) and register.time == theirs.created and register.value is not None
    }
    line = {"experiment_id": id_, "time": theirs.created, "type": "create", "name": name, "tags": at_once}
    yield {**line, "artifact_location": theirs.location} if theirs.location else line
    for key, register in theirs.registers.held.items():
        if register.time != theirs.created and register.value is not None:
            value = name if key == NAME else register.value
            yield _line(id_, key, Register(register.time, value))


def _changed(
    id_: str, mine: _Experiment, theirs: _Experiment, names: dict[str, str], notes: list[str]
) -> Iterator[Line]:
    """The lines for what was set later in the other store."""
    shown = printable(mine.name)
    for key, register in theirs.registers.held.items():
        held = mine.registers.get(key)
        if key == NAME and _base(str(register.value), id_) == _base(mine.name, id_):
            continue
        if held.value != register.value and not (theirs.registers.had(key, held) or mine.registers.had(key, register)):
            stands = said(register if held.loses_to(register) else held)
            notes.append(f"{printable(key)} of experiment {shown!r} was set in both stores: {stands} stands, as later")
        if not held.loses_to(register):
            continue
        if key == NAME:
            del names[mine.name]
            register = Register(register.time, _free_name(str(register.value), id_, names))
            names[register.value] = id_
        yield _line(id_, key, register)


def _line(id_: str, key: str, register: Register) -> Line:
    line: Line = {"experiment_id": id_, "time": max(0, register.time)}
    if key == NAME:
        return {**line, "type": "rename", "name": register.value}
    if key == STAGE:
        return {**line, "type": "lifecycle", "stage": register.value}
    return {**line, "type": "tag", "key": key.removeprefix(TAG), "value": register.value}


def _free_name(name: str, id_: str, names: dict[str, str]) -> str:
    """The name, with as much of the id added as makes it one that no other experiment has."""
    base = _base(name, id_)
    if names.get(base, id_) == id_:
        return base
    for digits in range(min(6, len(id_)), len(id_) + 1):
        found = f"{base} ({id_[-digits:]})"
        if names.get(found, id_) == id_:
            return found
    return f"{base} ({id_} {len(names)})"


def _base(name: str, id_: str) -> str:
    """The name without what was added to it."""
    head, mark, tail = name.rpartition(" (")
    return head if mark and tail.endswith(")") and len(tail) > 1 and id_.endswith(tail[:-1]) else name
