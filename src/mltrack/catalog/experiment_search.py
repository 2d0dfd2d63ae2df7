"""MLflow's grammar for searching experiments, evaluated over the few that a store has."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

from mltrack.catalog.comparators import EQUALITY, LISTS, NULLS, NUMBERS, TEXTS, comparator_test
from mltrack.catalog.filter_parser import ATTRIBUTE, TAG, And, Comparison, Name, Node, Or, _Filter
from mltrack.entities import ACTIVE, DELETED
from mltrack.errors import FilterError, UsageError
from mltrack.values.arguments import list_argument

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mltrack.entities import Experiment

__all__ = ["find_experiments"]

_STAGES = {"ACTIVE_ONLY": (ACTIVE,), "DELETED_ONLY": (DELETED,), "ALL": (ACTIVE, DELETED)}
_VIEWS = {1: "ACTIVE_ONLY", 2: "DELETED_ONLY", 3: "ALL"}
_TIMES = ("creation_time", "last_update_time")
_ATTRIBUTES = ("name", "experiment_id", *_TIMES)
_ENTITIES = {
    **dict.fromkeys(("attribute", "attributes", "attr"), ATTRIBUTE),
    **dict.fromkeys(("tag", "tags"), TAG),
}
_ORDER = re.compile(r"\s*(?:(?:attribute|attributes|attr)\.)?[`\"]?(\w+)[`\"]?(?:\s+(asc|desc))?\s*", re.IGNORECASE)
_DEFAULT_ORDER = ("creation_time DESC", "experiment_id ASC")


class _ExperimentName(Name):
    """An attribute or tag that experiments are searched by."""

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers."""
        return self.entity == ATTRIBUTE and self.key in _TIMES

    @property
    def comparators(self) -> tuple[str, ...]:
        """The comparators that it allows."""
        if self.is_number:
            return NUMBERS
        if self.entity == TAG:
            return (*TEXTS, *NULLS)
        return (*EQUALITY, *LISTS) if self.key == "experiment_id" else TEXTS


class _ExperimentFilter(_Filter):
    def name(self) -> Name:
        at = self.peek.at
        first = self._name_part()
        if not self.take_adjoining_dot():
            return self._known(first.text if first.kind == "word" else first.text[1:-1], at)
        entity = first.text[1:-1] if first.kind == "ticked" else first.text
        if entity not in _ENTITIES:
            raise self.error(f"{entity!r} is not an attribute of experiments", "write name, or tags.some_key", at)
        key = self._key()
        return _ExperimentName(TAG, key) if _ENTITIES[entity] == TAG else self._known(key, at)

    def _known(self, key: str, at: int) -> Name:
        if key not in _ATTRIBUTES:
            raise self.error(f"an experiment has no attribute {key!r}", f"it has {', '.join(_ATTRIBUTES)} and tags", at)
        return _ExperimentName(ATTRIBUTE, key)


def find_experiments(
    known: Iterable[Experiment], view: int | str, filter_string: str, order_by: Sequence[str]
) -> list[Experiment]:
    """Those of ``known`` that pass, in order; of equal ones the greater id comes first.

    Args:
        known: The store's experiments.
        view: ACTIVE_ONLY, DELETED_ONLY or ALL (or MLflow's ViewType numbers).
        filter_string: MLflow's grammar: ``name LIKE 'a%' AND tags.team = 'x'``; empty for all.
        order_by: As in MLflow: ``["name ASC"]``; by default the latest creation comes first.

    Raises:
        FilterError: the filter or order does not parse.
        UsageError: there is no such view.
    """
    named = _VIEWS.get(view, "") if isinstance(view, int) else view
    stages = _STAGES.get(named) if isinstance(named, str) else None
    if stages is None:
        raise UsageError(f"{view!r} is not a view of experiments", hint="use ACTIVE_ONLY, DELETED_ONLY or ALL")
    if not isinstance(filter_string, str):
        raise FilterError(f"{filter_string!r} is not a filter", hint="a filter is text: name LIKE 'a%'")
    node = _ExperimentFilter(filter_string).parse()
    orders = [_order(text) for text in list_argument("order_by", order_by) or _DEFAULT_ORDER]
    found = [e for e in known if e.lifecycle_stage in stages and (node is None or _passes(e, node))]
    for key, descending in [*orders, ("experiment_id", True)][::-1]:  # sorts are stable: the first one is applied last
        found.sort(key=partial(_sort_value, key), reverse=descending)
    return found


def _sort_value(key: str, experiment: Experiment) -> Any:
    return int(experiment.experiment_id) if key == "experiment_id" else getattr(experiment, key)


def _order(text: str) -> tuple[str, bool]:
    match = _ORDER.fullmatch(text) if isinstance(text, str) else None
    if match is None or match[1] not in _ATTRIBUTES:
        raise FilterError(f"{text!r} is not an order of experiments", hint=f"name one of {', '.join(_ATTRIBUTES)}")
    return match[1], (match[2] or "").upper() == "DESC"


def _passes(experiment: Experiment, node: Node) -> bool:
    if isinstance(node, And):
        return all(_passes(experiment, part) for part in node.parts)
    if isinstance(node, Or):
        return any(_passes(experiment, part) for part in node.parts)
    return _compares(experiment, node)


def _compares(experiment: Experiment, node: Comparison) -> bool:
    name, comparator, value = node.name, node.comparator, node.value
    held: Any = experiment.tags.get(name.key) if name.entity == TAG else getattr(experiment, name.key)
    return comparator_test(comparator, value)(held)
