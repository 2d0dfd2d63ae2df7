"""Evaluation datasets, scorers and label schemas of two stores and a server, and what pushes and pulls make of them.

The model has for each record, tag, version and schema what a store holds, what the server holds, and what both had
when they were last the same, with how it came there: ``+`` sent from here, ``=`` come from there, ``-`` deleted there.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mlflow.genai.label_schemas import InputCategorical, InputText, LabelSchemaType

from tests.support.tables import judge

__all__ = ["Edits", "Model", "Shared", "Side", "differences"]

NAME = "questions"
SCORER = "short"
FOREVER = "forever"
"""A version that nobody deletes: a scorer without any is another matter."""

Cells = dict[str, str]


class Side:
    """A store, by its MLflow interface, or a server, by MLflow's client of it."""

    def __init__(self, api: Any, experiment: str) -> None:
        self._api = api
        self._experiment = experiment

    @property
    def home(self) -> str:
        """The experiment's id on this side."""
        return str(self._api.get_experiment_by_name(self._experiment).experiment_id)

    @property
    def dataset(self) -> str:
        """The dataset's id; there is one."""
        (found,) = self._api.search_datasets(experiment_ids=[self.home])
        return str(found.dataset_id)

    def fill(self) -> None:
        """The dataset, and the scorer's first version."""
        self._api.create_dataset(NAME, experiment_ids=[self.home])
        self._api.register_scorer(self.home, SCORER, judge(FOREVER))

    def held(self) -> dict[str, Cells]:
        """What is here, by kind."""
        (found,) = self._api.search_datasets(experiment_ids=[self.home])
        records, _ = self._api._load_dataset_records(found.dataset_id)
        versions = self._api.list_scorer_versions(self.home, SCORER)
        schemas = [each for each in self._api.list_label_schemas(self.home) if not each.is_default]
        cells: dict[str, list[tuple[str, str]]] = {
            "record": [(each.inputs["q"], _text(each.expectations)) for each in records],
            "tag": [(key, value) for key, value in found.tags.items() if not key.startswith(("mltrack.", "mlflow."))],
            "version": [(_description(each), "") for each in versions],
            "schema": [(each.name, f"{each.type.name} {each.instruction}") for each in schemas],
        }
        for kind, pairs in cells.items():
            assert len(dict(pairs)) == len(pairs), f"something is here twice: {kind} {pairs}"
        return {kind: dict(pairs) for kind, pairs in cells.items()}

    def put(self, kind: str, key: str, value: str) -> None:
        """Make one, or change it."""
        if kind == "record":
            self._api.upsert_dataset_records(self.dataset, [{"inputs": {"q": key}, "expectations": json.loads(value)}])
        elif kind == "tag":
            self._api.set_dataset_tags(self.dataset, {key: value})
        elif kind == "version":
            self._api.register_scorer(self.home, SCORER, judge(key))
        else:
            self._put_schema(key, *value.split())

    def _put_schema(self, name: str, kind: str, instruction: str) -> None:
        found = [each for each in self._api.list_label_schemas(self.home) if each.name == name]
        if found and found[0].type.name == kind:
            self._api.update_label_schema(found[0].schema_id, instruction=instruction)
            return
        if found:
            self._api.delete_label_schema(found[0].schema_id)
        answers: Any = InputText() if kind == "EXPECTATION" else InputCategorical(options=["yes", "no"])
        self._api.create_label_schema(
            self.home, name=name, type=LabelSchemaType[kind], input=answers, instruction=instruction
        )

    def remove(self, kind: str, key: str) -> None:
        """Delete one."""
        if kind == "record":
            records, _ = self._api._load_dataset_records(self.dataset)
            ids = [each.dataset_record_id for each in records if each.inputs["q"] == key]
            self._api.delete_dataset_records(self.dataset, ids)
        elif kind == "tag":
            self._api.delete_dataset_tag(self.dataset, key)
        elif kind == "version":
            (number,) = [
                each.scorer_version
                for each in self._api.list_scorer_versions(self.home, SCORER)
                if _description(each) == key
            ]
            self._api.delete_scorer(self.home, SCORER, version=number)
        else:
            self._api.delete_label_schema(self._api.get_label_schema_by_name(self.home, key).schema_id)


def _text(expectations: Any) -> str:
    return json.dumps(expectations, sort_keys=True)


def _description(version: Any) -> str:
    given = version._serialized_scorer
    found: Any = given if isinstance(given, dict) else json.loads(given) if isinstance(given, str) else vars(given)
    return str(found["description"])


@dataclass
class Shared:
    """What one store holds, and what it and the server had when they were last the same: a mark, and the content."""

    held: dict[str, Cells]
    both: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict)
    is_scorer_sent: bool = False


class Model:
    """What the server holds, and what each store holds."""

    def __init__(self, server: dict[str, Cells], stores: dict[str, Shared]) -> None:
        self.server = server
        self.stores = stores

    def changed(self, name: str, kind: str, key: str, value: str | None) -> None:
        """A side made, changed or deleted something."""
        held = self.server if name == "server" else self.stores[name].held
        if value is None:
            held[kind].pop(key)
        else:
            held[kind][key] = value
        if kind == "version" and name != "server":
            self.stores[name].is_scorer_sent = False

    def push(self, name: str) -> None:
        """A store is pushed."""
        store = self.stores[name]
        for kind in ("record", "tag", "schema"):
            self._each(store, kind, lambda *given, kind=kind: _pushed(kind, *given))
        if not store.is_scorer_sent:
            self._each(store, "version", _pushed_version)
            store.is_scorer_sent = True

    def pull(self, name: str) -> None:
        """A store is pulled into."""
        store = self.stores[name]
        for kind in ("record", "tag", "version", "schema"):
            self._each(store, kind, lambda *given, kind=kind: _pulled(kind, *given))

    def _each(self, store: Shared, kind: str, work: Callable[..., tuple[Any, Any, Any]]) -> None:
        here, there, both = store.held[kind], self.server[kind], store.both.setdefault(kind, {})
        for key in {**here, **there, **both}:
            after = work(here.get(key), there.get(key), both.get(key))
            for cells, value in zip((here, there, both), after, strict=True):
                held: dict[str, Any] = cells  # type: ignore[assignment]
                if value is None:
                    held.pop(key, None)
                else:
                    held[key] = value


Both = tuple[str, str] | None
Cell = tuple[str | None, str | None, Both]


def _pushed(kind: str, here: str | None, there: str | None, both: Both) -> Cell:
    if here is None:
        if both is None or (kind != "tag" and both[0] != "+"):
            return here, there, both
        if there is not None and there != both[1] and kind != "tag":
            return here, there, None  # it was changed there: it stays
        return here, None, None
    if both is not None and both[1] == here:
        return here, there, both
    mark = both[0] if both is not None and both[0] != "-" else "+"
    is_conflict = there is not None and (both is None or there != both[1])
    if kind == "schema" and is_conflict and there is not None and there.split()[0] != here.split()[0]:
        return here, there, both  # a type can't be changed
    if kind == "record" and there is not None and is_conflict:
        return here, _text({**json.loads(there), **json.loads(here)}), (mark, here)
    return here, here, (mark, here)


def _pushed_version(here: str | None, there: str | None, both: Both) -> Cell:
    if here is None:
        return (here, None, None) if both is not None and both[0] == "+" else (here, there, both)
    if there is not None:
        return here, there, both or ("=", here)
    return here, here, ("+", here)


def _pulled(kind: str, here: str | None, there: str | None, both: Both) -> Cell:
    mark = both[0] if both is not None and both[0] != "-" else "="
    if there is None:
        if here is None or both is None:
            return here, there, None
        if kind == "tag" and here == both[1]:
            return None, None, None
        return here, there, both if kind in ("tag", "schema") else ("-", both[1]) if kind == "record" else None
    if here is None:
        if kind == "tag":
            stays_away = both is not None
        elif kind == "schema":
            stays_away = both is not None and both[0] == "+"
        else:
            stays_away = both is not None and both[0] != "-" and both[1] == there
        return (here, there, both) if stays_away else (there, there, ("=", there))
    if here == there:
        return here, there, (mark, there)
    if both is not None and here == both[1]:
        is_new_one = kind == "schema" and here.split()[0] != there.split()[0]
        return there, there, ("=" if is_new_one else mark, there)
    return here, there, both


def differences(side: str, held: dict[str, Cells], expected: dict[str, Cells], done: list[str]) -> str:
    """What a side holds that it should not, and what was done about it; "" where all is as expected."""
    lines = []
    for kind, cells in expected.items():
        for key in sorted(held[kind].keys() | cells.keys()):
            found, right = held[kind].get(key), cells.get(key)
            if found != right:
                story = [each for each in done if f" {kind} {key} " in each or each.endswith(("push", "pull"))]
                lines.append(f"{side}: {kind} {key} is {found}, should be {right}; {'; '.join(story)}")
    return "\n".join(lines)


class Edits:
    """Random edits, of one seed."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._count = 0

    def next(self, held: dict[str, Cells]) -> tuple[str, str, str | None]:
        """A kind, a key, and what it becomes, given what a side holds; None deletes."""
        chance = self._chance
        self._count += 1
        kind = chance.choice(["record"] * 4 + ["tag", "version", "version", "schema"])
        here = sorted(held[kind].keys() - {FOREVER})
        if here and chance.random() < 0.3:
            return kind, chance.choice(here), None
        if kind == "version":
            return kind, f"version {self._count}", ""
        key = f"{kind}{chance.randrange(6)}"
        if kind == "record":
            both = {**json.loads(held[kind].get(key, "{}")), chance.choice("ab"): self._count}
            return kind, key, json.dumps(both, sort_keys=True)
        if kind == "schema":
            return kind, key, f"{chance.choice(['FEEDBACK', 'EXPECTATION'])} {self._count}"
        return kind, key, str(self._count)

    def choose(self, choices: list[str]) -> str:
        """One of these."""
        return self._chance.choice(choices)
