"""The result of comparing one thing with the remote's: how much is the same, and what differs, in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mltrack_sync.mlflow.plan.kinds import (
    ALIAS,
    EVALUATION_DATASET,
    LABEL_SCHEMA,
    LOGGED_MODEL_KINDS,
    LOGGED_MODELS,
    MODEL,
    MODEL_VERSION,
    REGISTERED_MODELS,
    RUNS,
    SCORER,
    TABLES,
    TRACE,
    TRACE_TAG,
    TRACES,
)
from mltrack_sync.report import Difference

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["NOTHING", "WAITS", "Findings", "repairable_unit"]

SHOWN_CHARS = 60
NOTHING = "nothing"
WAITS = "waits to be pushed"


@dataclass(slots=True)
class Findings:
    """Collects the result for one thing: a run, or what ``subject`` names.

    ``kind`` and ``key`` are its names in the ledger, unless a difference says something else. ``waits`` says that
    something of it is still to be pushed. ``counts`` has the names of a report's numbers (see VerifyReport).
    """

    run_id: str = ""
    subject: str = ""
    kind: str = "run"
    key: str = ""
    waits: bool = False
    differences: list[Difference] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def differs(
        self, thing: str, local: object, remote: object, *, kind: str | None = None, key: str | None = None
    ) -> None:
        """Note a difference."""
        kind, key = self.kind if kind is None else kind, self.key if key is None else key
        self.differences.append(Difference(self.run_id, thing, _shown(local), _shown(remote), kind, key, self.subject))

    def equal(self, thing: str, local: object, remote: object) -> None:
        """Note a difference, unless both are equal."""
        if local != remote:
            self.differs(thing, local, remote)

    def texts(
        self,
        what: str,
        local: Mapping[str, str],
        remote: Mapping[str, str],
        keys: Iterable[str],
        *,
        kind: str | None = None,
        prefix: str = "",
    ) -> int:
        """Compare texts by these keys; returns how many are the same. In the ledger, keys begin with ``prefix``."""
        same = 0
        for key in sorted(keys):
            if local.get(key) == remote.get(key):
                same += 1
            else:
                named = self.key if kind is None else prefix + key
                self.text_differs(f"{what} {key!r}", local.get(key), remote.get(key), kind=kind, key=named)
        return same

    def text_differs(
        self, thing: str, local: str | None, remote: str | None, *, kind: str | None = None, key: str | None = None
    ) -> None:
        """Note that a text differs, and whether the remote has shortened it."""
        if local is not None and remote is not None and local.startswith(remote) and remote:
            shown = f"its first {len(remote):,} characters"
            self.differs(thing, f"{len(local):,} characters", shown, kind=kind, key=key)
            return
        sides = [NOTHING if text is None else repr(_cut(text)) for text in (local, remote)]
        if sides[0] == sides[1]:
            sides = [
                f"{side} ({len(text or ''):,} characters)" for side, text in zip(sides, (local, remote), strict=True)
            ]
        self.differs(thing, *sides, kind=kind, key=key)

    def explained(self, reasons: Mapping[tuple[str, str], str]) -> tuple[Difference, ...]:
        """The differences, each with its reason: it was rejected, or waits."""
        found = []
        for difference in self.differences:
            explained = difference.explained(reasons)
            found.append(explained.noted(WAITS) if explained is difference and self.waits else explained)
        return tuple(found)


_REGISTERED = {MODEL: "", ALIAS: "@", MODEL_VERSION: "/"}
"""Kinds of which the name of the registered model begins the key, and what follows it there."""


def repairable_unit(difference: Difference) -> str:
    """What a repair may mend: a run, model, trace, evaluation dataset, scorer or label schema, as the ledger names it.

    "" where it waits, was rejected, or is something else.
    """
    if not _may_be_repaired(difference):
        return ""
    if difference.run_id:
        return f"{RUNS}{difference.run_id}"
    kind, key = difference.kind, difference.key
    if kind in _REGISTERED:
        mark = _REGISTERED[kind]
        return f"{REGISTERED_MODELS}{key.rpartition(mark)[0] if mark else key}"
    if kind in (EVALUATION_DATASET, SCORER, LABEL_SCHEMA):
        return f"{TABLES}{kind}/{key}"
    area = TRACES if kind in (TRACE, TRACE_TAG) else LOGGED_MODELS if kind in LOGGED_MODEL_KINDS else ""
    return f"{area}{key.partition('/')[0]}" if area else ""


def _may_be_repaired(difference: Difference) -> bool:
    return not difference.remote.endswith(f"({WAITS})") and "(rejected: " not in difference.remote


def _shown(value: object) -> str:
    return NOTHING if value is None or value == "" else str(value)


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 3] + "..."
