"""Names that may be misspelled: whether what was asked for exists, and what is meant if it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.catalog.filter_parser import ATTRIBUTE, Comparison, parse_filter
from mltrack.entities import RUN_STATUSES
from mltrack.errors import FilterError, UsageError
from mltrack.text.nearest import meant

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from mltrack.catalog.filter_parser import Node

__all__ = ["check_statuses", "require_known", "wanted_tags"]

STATUSES = (*RUN_STATUSES, "CRASHED")


def require_known(names: Collection[str], known: Collection[str], what: str) -> None:
    """Check names of one kind.

    Raises:
        UsageError: one of them is not known.
    """
    for name in names:
        if name not in known:
            raise UsageError(f"{what} {name!r}", hint=meant(name, known))


def wanted_tags(options: Sequence[str], example: str) -> dict[str, str]:
    """The tags that ``--tag KEY=VALUE`` asks for; ``example`` is a call that is right.

    Raises:
        UsageError: one is not KEY=VALUE.
    """
    pairs = [option.partition("=") for option in options]
    for option, (key, sign, _) in zip(options, pairs, strict=True):
        if not sign or not key:
            raise UsageError(f"{option!r} is not KEY=VALUE", hint=example)
    return {key: value for key, _, value in pairs}


def check_statuses(filter_string: str) -> None:
    """Check the statuses that a filter compares with: one that does not exist matches nothing, without a word.

    Raises:
        FilterError: one is not a status, or the filter does not parse.
    """
    for status in _statuses(parse_filter(filter_string)):
        if status not in STATUSES:
            hint = meant(status.upper(), STATUSES)
            raise FilterError(f"{status!r} is not a status", hint=hint)


def _statuses(node: Node | None) -> Iterator[str]:
    if isinstance(node, Comparison):
        if (node.name.entity, node.name.key) == (ATTRIBUTE, "status") and node.comparator in (
            "=",
            "!=",
            "IN",
            "NOT IN",
        ):
            yield from map(str, node.value if isinstance(node.value, tuple) else [node.value])
    elif node is not None:
        for part in node.parts:
            yield from _statuses(part)
