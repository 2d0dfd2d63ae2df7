"""MLflow's search grammar for runs, parsed without MLflow into a small tree.

A filter means the same as to MLflow's SQL store, so it gives the same runs. The differences:

- OR and parentheses are allowed too, in any number; AND binds tighter. Filters may have thousands of parts; one that
  would take too long to plan is refused. Two comparisons need an AND or OR between them.
- A bare name may be any word, even a keyword of SQL or one that starts with a digit (``metrics.in``, ``params.1st``).
- A name is quoted as a whole or not at all. A filter of blanks only is an empty one.
- Infinities are compared as they are; MLflow's store keeps them as +-1.797e308.
- ILIKE ignores the case of all letters; on SQLite, MLflow ignores that of ASCII letters only.
- A metric may be one of its aggregates: ``min(loss)``, ``max(metrics.acc)``, ``count(`val loss`)``.
- A backslash is a plain character in lists too; in MLflow's it is one as in Python.

As in MLflow, quotes can't be escaped: a value with one kind of quote in it is put between the other kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mltrack.catalog.aggregates import IN_CATALOG
from mltrack.catalog.comparators import LISTS, NULLS, NUMBERS, TEXTS
from mltrack.catalog.filter_tokens import DATE_HINT, Token, TokenReader, time_in_ms
from mltrack.errors import FilterError

__all__ = [
    "ATTRIBUTE",
    "ATTRIBUTES",
    "DATASET",
    "METRIC",
    "PARAM",
    "TAG",
    "And",
    "Comparison",
    "Name",
    "Node",
    "Or",
    "Reader",
    "parse_filter",
]

METRIC, PARAM, TAG, ATTRIBUTE, DATASET = "metric", "param", "tag", "attribute", "dataset"
_ENTITIES = {
    **dict.fromkeys(("metric", "metrics"), METRIC),
    **dict.fromkeys(("param", "params", "parameter", "parameters"), PARAM),
    **dict.fromkeys(("tag", "tags"), TAG),
    **dict.fromkeys(("attribute", "attributes", "attr", "run"), ATTRIBUTE),
    **dict.fromkeys(("dataset", "datasets"), DATASET),
}
_ALIASES = {
    **dict.fromkeys(("created", "Created"), "start_time"),
    **dict.fromkeys(("name", "run name", "Run name", "Run Name"), "run_name"),
    "experiment": "experiment_name",
}
ATTRIBUTES = (
    *("alerts", "artifact_uri", "duration", "end_time", "experiment_name", "parent_run_id", "points"),
    *("run_id", "run_name", "start_time", "status", "user_id"),
)
DATASET_KEYS = ("name", "digest", "context")
_TIMES = ("start_time", "end_time", "creation_time", "last_update_time")
_NUMERIC = ("alerts", "duration", "points", "start_time", "end_time")


class Name(NamedTuple):
    """A name to compare or order by: one of the entities above and a key, aliases resolved.

    ``column`` is that of the catalog's table: of a metric it may be an aggregate.
    """

    entity: str
    key: str
    column: str = "value"

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers."""
        return self.entity == METRIC or (self.entity == ATTRIBUTE and self.key in _NUMERIC)

    @property
    def is_time(self) -> bool:
        """Whether its values are times, which may be compared with dates."""
        return self.entity == ATTRIBUTE and self.key in _TIMES

    @property
    def comparators(self) -> tuple[str, ...]:
        """The comparators that it allows."""
        if self.is_number:
            return NUMBERS
        if self.key == "parent_run_id" and self.entity == ATTRIBUTE:
            return (*TEXTS, *LISTS, *NULLS)
        if self.entity == DATASET:
            return (*TEXTS, *LISTS)
        if self.entity == ATTRIBUTE:
            return (*TEXTS, *LISTS) if self.key == "run_id" else TEXTS
        return (*TEXTS, *NULLS)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison; ``value`` is a number, a text, several texts (IN), or None (IS NULL)."""

    name: Name
    comparator: str
    value: float | str | tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class And:
    """All of its parts hold."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of its parts holds."""

    parts: tuple[Node, ...]


Node = Comparison | And | Or

COMPARISONS_MAX = 10_000
NESTED_MAX = 100
"""How deep AND and OR may alternate. Parentheses around a single part don't count."""


# --- the parser ------------------------------------------------------------------------------------------------


class Reader(TokenReader):
    """Reads names: the common part of filters and orderings."""

    def name(self) -> Name:
        """A name: ``entity.key``, or an attribute alone.

        Raises:
            FilterError: it does not exist, or runs can't be searched by it.
        """
        at = self.peek.at
        first = self._name_part()
        if first.kind == "word" and self.peek.text == "(" and self.peek.at == self.end_of_last():
            return self._aggregate(first)
        if not self.take_adjoining_dot():
            return self._attribute(first.text if first.kind == "word" else first.text[1:-1], at)
        entity = first.text[1:-1] if first.kind == "ticked" else first.text
        if entity not in _ENTITIES:
            raise self.error(
                f"a run has no {entity!r}",
                "begin names with metrics., params., tags., datasets. or attributes.",
                at,
            )
        key = self._key()
        if _ENTITIES[entity] == ATTRIBUTE:
            return self._attribute(key, at)
        if _ENTITIES[entity] == DATASET and key not in DATASET_KEYS:
            known = ", ".join(f"dataset.{name}" for name in DATASET_KEYS)
            raise self.error(f"a dataset can't be searched for by {key!r}", f"use {known}", at)
        return Name(_ENTITIES[entity], key)

    def _aggregate(self, function: Token) -> Name:
        """What follows ``min`` or another function: a metric in parentheses."""
        column = IN_CATALOG.get(function.text.lower())
        if column is None:
            raise self.error(f"{function.text!r} is not a function here", f"use {', '.join(IN_CATALOG)}", function.at)
        self.take()
        part = self._name_part()
        key = part.text if part.kind == "word" else part.text[1:-1]
        while self.take_adjoining_dot():
            following = self._name_part()
            inner = following.text if following.kind == "word" else following.text[1:-1]
            key = inner if part.kind == "word" and key in ("metrics", "metric") else f"{key}.{inner}"
        if self.take().text != ")":
            raise self.error(f"a closing parenthesis was expected, not {self.found()}", "close the parenthesis")
        return Name(METRIC, key, column)

    def _name_part(self) -> Token:
        if self.peek.kind == "word" or self.peek.kind == "ticked" or self.peek.text.startswith('"'):
            return self.take()
        raise self.error(
            f"a name was expected, not {self.found()}", "write for example: metrics.loss < 0.5 and params.lr = '0.1'"
        )

    def _key(self) -> str:
        if self.peek.at != self.end_of_last():
            raise self.error("a dot without a name after it", "write the name right after the dot")
        part = self._name_part()
        if part.kind != "word":
            key = part.text[1:-1]
        else:
            key = part.text
            while self.take_adjoining_dot():
                if self.peek.kind != "word" or self.peek.at != self.end_of_last():
                    raise self.error("a name that is quoted in part", "put the whole name between `backticks`")
                key += "." + self.take().text
        if not key:
            raise self.error("an empty name", "name a metric, param or tag", part.at)
        return key

    def _attribute(self, key: str, at: int) -> Name:
        key = _ALIASES.get(key, key)
        if key not in ATTRIBUTES:
            raise self.error(
                f"a run has no attribute {key!r}",
                f"attributes are {', '.join(ATTRIBUTES)}; for others write metrics.{key}, params.{key} or tags.{key}",
                at,
            )
        return Name(ATTRIBUTE, key)


class _Group:
    """The content of parentheses, as far as it was read: alternatives, and the parts of the last of them."""

    __slots__ = ("alternatives", "parts")

    def __init__(self) -> None:
        self.alternatives: list[Node] = []
        self.parts: list[Node] = []

    def next_alternative(self) -> None:
        self.alternatives.append(_joined(And, self.parts))
        self.parts = []

    def node(self) -> Node:
        return _joined(Or, [*self.alternatives, _joined(And, self.parts)])


def _joined(kind: type[And] | type[Or], parts: Sequence[Node]) -> Node:
    """A node of these parts, each once; parts of the same kind are replaced by their own parts."""
    flat = [inner for part in parts for inner in (part.parts if isinstance(part, kind) else (part,))]
    once = tuple(dict.fromkeys(flat))
    return once[0] if len(once) == 1 else kind(once)


def _depth(node: Node) -> int:
    return 0 if isinstance(node, Comparison) else 1 + max(map(_depth, node.parts))


class _Filter(Reader):
    def parse(self) -> Node | None:
        if self.peek.kind == "end":
            return None
        node = self._all_groups()
        if self.peek.kind != "end":
            raise self.error(f"AND or OR was expected, not {self.found()}", "join comparisons by AND")
        return node

    def _all_groups(self) -> Node:
        """The tree, read without recursion: a generated filter may have any number of parentheses."""
        groups = [_Group()]
        comparisons = 0
        while True:
            while self.peek.text == "(":
                self.take()
                groups.append(_Group())
            node: Node = self._comparison()
            comparisons += 1
            if comparisons > COMPARISONS_MAX:
                raise self.error(f"more than {COMPARISONS_MAX:,} comparisons", "use IN, or search in parts")
            while True:
                groups[-1].parts.append(node)
                if self.take_word("AND"):
                    break
                if self.take_word("OR"):
                    groups[-1].next_alternative()
                    break
                if len(groups) == 1:
                    return groups[0].node()
                if self.peek.text != ")":
                    raise self.error(f"a closing parenthesis was expected, not {self.found()}", "close the parenthesis")
                node = groups.pop().node()
                if _depth(node) > NESTED_MAX:
                    raise self.error(f"AND and OR nested more than {NESTED_MAX} deep", "search in parts")
                self.take()

    def _comparison(self) -> Comparison:
        name = self.name()
        at = self.peek.at
        comparator = self._comparator()
        if comparator not in name.comparators:
            hint = f"it takes {', '.join(name.comparators)}"
            if comparator[0] in "<>" and name.entity in (PARAM, TAG):
                hint += "; its values are texts, which SQL can compare as numbers: CAST(value AS DOUBLE)"
            raise self.error(f"{name.entity} {name.key!r} can't be compared by {comparator}", hint, at)
        if comparator in NULLS:
            return Comparison(name, comparator, None)
        if comparator in LISTS:
            return Comparison(name, comparator, self._list())
        return Comparison(name, comparator, self._number(name) if name.is_number else self._quoted(name))

    def _comparator(self) -> str:
        if self.peek.kind == "sign":
            return self.take().text
        word = self.take_word("LIKE", "ILIKE", "IN", "NOT", "IS")
        if word == "NOT" and self.take_word("IN"):
            return "NOT IN"
        if word == "IS":
            word = "IS NOT NULL" if self.take_word("NOT") else "IS NULL"
            if self.take_word("NULL"):
                return word
        elif word and word != "NOT":
            return word
        raise self.error(
            f"a comparison was expected, not {self.found()}",
            "use =, !=, <, <=, >, >=, LIKE, ILIKE, IN, NOT IN, IS NULL or IS NOT NULL",
        )

    def _compared(self, name: Name, expected: str) -> str:
        if self.peek.kind == "end":
            return f"what {name.entity} {name.key!r} is compared with is missing"
        return f"{name.entity} {name.key!r} is compared with {self.found()}, which is not {expected}"

    def _number(self, name: Name) -> float:
        if self.peek.kind == "quoted" and name.is_time:
            moment = time_in_ms(self.peek.text[1:-1])
            if moment is None:
                raise self.error(f"{self.found()} is not a date", DATE_HINT)
            self.take()
            return moment
        if self.peek.kind != "number":
            raise self.error(
                self._compared(name, "a number"),
                DATE_HINT if name.is_time else "write a number without quotes",
            )
        text = self.take().text
        if name.entity == ATTRIBUTE and text.lstrip("-").isdigit() and len(text) < 19:
            return int(text)
        return float(text)

    def _quoted(self, name: Name) -> str:
        if self.peek.kind != "quoted":
            raise self.error(
                self._compared(name, "a quoted text"),
                "put the text between single or double quotes",
            )
        return self.take().text[1:-1]

    def _list(self) -> tuple[str, ...]:
        if self.take().text != "(":
            raise self.error("a list was expected", "write for example: IN ('a', 'b')", self.peek.at)
        values: list[str] = []
        while self.peek.text != ")":
            if self.peek.kind != "quoted":
                raise self.error(f"a quoted text was expected, not {self.found()}", "write: IN ('a', 'b')")
            values.append(self.take().text[1:-1])
            if self.peek.text != ")" and self.take().text != ",":
                raise self.error("a comma was expected", "write: IN ('a', 'b')")
        if not values:
            raise self.error("an empty list", "name at least one value")
        self.take()
        return tuple(values)


def parse_filter(text: str | None) -> Node | None:
    """The tree of a filter; None for an empty filter, which all runs pass.

    Raises:
        FilterError: it does not parse, or asks for what can't be compared.
    """
    if text is not None and not isinstance(text, str):
        raise FilterError(f"{text!r} is not a filter", hint="a filter is text: metrics.loss < 0.5")
    return _Filter(text or "").parse()
