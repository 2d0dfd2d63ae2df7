"""Merging another store's registry into a store's: the lines to be added to ``workspace/models.jsonl``.

A version is the same in both where it was made from the same at the same time, whichever number it has. A number that
both stores gave to different versions stays with the one that is here; the other gets the next free one. Of tags,
descriptions, stages and aliases the later setting stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mltrack.text.printable import printable
from mltrack_sync.stores.registers import UNSET, Register, Registers, said
from mltrack_sync.stores.registry_facts import (
    ALIAS,
    DESCRIPTION,
    NAME,
    STAGE,
    TAG,
    ModelFacts,
    RegistryFacts,
    VersionFacts,
    read_registry,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Line = dict[str, Any]

__all__ = ["merge_registry"]


def merge_registry(ours: Iterable[Line], theirs: Iterable[Line]) -> tuple[list[Line], list[str]]:
    """The lines to append to ours, and what the user should know.

    Args:
        ours: The lines of this store, in order.
        theirs: The lines of the other store, in order.
    """
    merge = _Merge(read_registry(ours))
    other = read_registry(theirs)
    for model in other.models.values():
        merge.model(model)
    for identity, at in other.deleted.items():
        merge.deletion(identity, at)
    return merge.lines, merge.notes


class _Merge:
    """The lines that a merge appends; what they change is applied at once, as a reader will."""

    def __init__(self, here: RegistryFacts) -> None:
        self.lines: list[Line] = []
        self.notes: list[str] = []
        self._here = here

    def _append(self, line: Line) -> None:
        self.lines.append(line)
        self._here.apply(line)

    def model(self, theirs: ModelFacts) -> None:
        """Merge one model of the other store."""
        mine = self._here.find(theirs)
        if mine is None:
            if self._here.deleted.get(theirs.identity, -1) >= theirs.latest:
                return
            at, name = theirs.identity[0], theirs.name
            self._append({"type": "create", "time": at, "name": name, "description": "", "tags": {}})
            mine = self._here.models[name]
        self._name(mine, theirs)
        about = f"model {printable(mine.name)!r}"
        for key, register in self._later(mine.registers, theirs.registers, about, (DESCRIPTION, TAG)):
            line: Line = {"time": register.time, "name": mine.name}
            if key == DESCRIPTION:
                self._append({**line, "type": "update", "description": register.value})
            else:
                self._append({**line, "type": "tag", "key": key.removeprefix(TAG), "value": register.value})
        numbers = self._versions(mine, theirs)
        self._aliases(mine, theirs, numbers)

    def _name(self, mine: ModelFacts, theirs: ModelFacts) -> None:
        held, register = mine.registers.get(NAME), theirs.registers.get(NAME)
        if mine.identity != theirs.identity or not held.loses_to(register):
            return
        if register.value in self._here.models:
            shown = printable(str(register.value))
            self.notes.append(f"model {printable(mine.name)!r} keeps its name: there is another {shown!r} here")
            return
        self._append({"type": "rename", "time": register.time, "name": mine.name, "new_name": register.value})

    def _later(
        self, mine: Registers, theirs: Registers, about: str, kinds: tuple[str, ...]
    ) -> Iterator[tuple[str, Register]]:
        """What was set later in the other store; conflicts are noted."""
        for key, register in list(theirs.held.items()):
            held = mine.get(key)
            if not key.startswith(kinds) or held.value == register.value:
                continue
            wins = held.loses_to(register)
            if not (theirs.had(key, held) or mine.had(key, register) or _is_default(key, held)):
                self._conflict(key, about, register if wins else held)
            if wins:
                yield key, register

    def _conflict(self, key: str, about: str, stands: Register) -> None:
        self.notes.append(
            f"{printable(key)} of {about} was set in both stores: {said(stands)} stands, as the later one"
        )

    def _versions(self, mine: ModelFacts, theirs: ModelFacts) -> dict[int, int]:
        """Merge the versions; returns this store's number for each number of the other store."""
        known = {version.identity: number for number, version in mine.versions.items()}
        numbers = {n: known[v.identity] for n, v in theirs.versions.items() if v.identity in known}
        fresh = {n: v for n, v in theirs.versions.items() if n not in numbers and v.deleted < 0}
        for number in sorted(fresh, key=lambda n: (n in mine.versions, n)):  # those whose number is free come first
            numbers[number] = self._add(mine, number, fresh[number])
        for number, version in theirs.versions.items():
            if number in numbers:
                self._version(mine, numbers[number], version)
        return numbers

    def _add(self, mine: ModelFacts, number: int, version: VersionFacts) -> int:
        given = number if number not in mine.versions else max(mine.versions) + 1
        if given != number:
            self.notes.append(
                f"version {number} of model {printable(mine.name)!r} in the other store is version {given} here:"
                f" both stores made a version {number}"
            )
        line = {key: value for key, value in version.line.items() if key != "byte"}
        self._append({**line, "name": mine.name, "version": given})
        return given

    def _version(self, mine: ModelFacts, number: int, theirs: VersionFacts) -> None:
        held = mine.versions[number]
        if held.deleted >= 0:
            return  # its number is not used again
        line: Line = {"name": mine.name, "version": number}
        if theirs.deleted >= 0:
            if theirs.deleted > held.registers.latest:
                self._append({**line, "type": "delete_version", "time": theirs.deleted})
                about = f"version {number} of model {printable(mine.name)!r}"
                self.notes.append(f"{about} was deleted in the other store, and now here")
            return
        about = f"version {number} of model {printable(mine.name)!r}"
        kinds = (DESCRIPTION, TAG, STAGE)
        for key, register in self._later(held.registers, theirs.registers, about, kinds):
            timed = {**line, "time": register.time}
            if key == DESCRIPTION:
                self._append({**timed, "type": "update_version", "description": register.value})
            elif key == STAGE:
                self._append({**timed, "type": "stage", "stage": register.value})
            else:
                tag = {"key": key.removeprefix(TAG), "value": register.value}
                self._append({**timed, "type": "version_tag", **tag})

    def _aliases(self, mine: ModelFacts, theirs: ModelFacts, numbers: dict[int, int]) -> None:
        """Merge the aliases, which point to the same versions here, whatever their numbers are."""
        others = {own: number for number, own in numbers.items()}
        for key, register in list(theirs.registers.held.items()):
            if not key.startswith(ALIAS) or (register.value is not None and register.value not in numbers):
                continue
            held = mine.registers.get(key)
            wanted = Register(register.time, None if register.value is None else numbers[register.value])
            if wanted.value is not None and mine.versions[wanted.value].deleted >= 0:
                continue
            if held.value == wanted.value:
                continue
            # both as they are in the other store, so that both stores decide alike between two of the same time
            seen = Register(held.time, others.get(held.value, held.value))
            wins = held.time < register.time or (held.time == register.time and seen.loses_to(register))
            if not (theirs.registers.had(key, seen) or mine.registers.had(key, wanted) or held == UNSET):
                self._conflict(key, f"model {printable(mine.name)!r}", wanted if wins else held)
            if wins:
                line = {"type": "alias", "time": wanted.time, "name": mine.name}
                self._append({**line, "alias": key.removeprefix(ALIAS), "version": wanted.value})

    def deletion(self, identity: tuple[int, str], at: int) -> None:
        """Delete a model that was deleted in the other store, unless something of it was set here since."""
        for name, mine in list(self._here.models.items()):
            if mine.identity == identity and at > mine.latest:
                self._append({"type": "delete", "time": at, "name": name})
                self.notes.append(f"model {printable(name)!r} was deleted in the other store, and now here")


def _is_default(key: str, held: Register) -> bool:
    """Whether a register was never set by anybody: a description that is empty, a stage that is "None"."""
    return (key == DESCRIPTION and held.value == "") or (key == STAGE and held.value == "None")
