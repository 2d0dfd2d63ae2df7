"""The same experiments here and in MLflow's SQL store: every filter and order gives the same, or both refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mltrack.catalog.experiment_search import find_experiments
from mltrack.entities import Experiment
from mltrack.errors import FilterError, UsageError

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's and its libraries', not ours

MADE: list[tuple[str, dict[str, str]]] = [
    ("alpha", {"team": "vision"}),
    ("Alpha", {"team": "Vision", "a b": "1"}),
    ("beta %", {}),
    ("it's", {"team": "", "x.y": "größe"}),
    ("größe", {"team": "vision"}),
]
GONE = "beta %"

FILTERS = [
    "",
    "name = 'alpha'",
    "name != 'alpha'",
    "attribute.name LIKE 'a%'",
    "`name` LIKE '%_a'",
    'name = "it\'s"',
    "name = 'größe' AND tags.team = 'vision'",
    "tags.team = 'vision'",
    "tag.team != 'vision'",
    "tags.team ILIKE 'VIS%'",
    "tags.`a b` = '1'",
    "tags.\"x.y\" LIKE 'gr%'",
    "tags.x.y = 'größe'",
    "tags.none = 'a'",
    "creation_time > 0",
    "creation_time >= 0 and last_update_time > 0 and name LIKE '%'",
    "last_update_time < 1",
    # refused
    "name = alpha",
    "name > 'a'",
    "name",
    "= 'a'",
    "nothing = 'a'",
    "params.a = '1'",
    "creation_time LIKE '1'",
    "tags.team > 'a'",
]
ORDERS = [
    [],
    ["name"],
    ["name DESC"],
    ["creation_time asc"],
    ["last_update_time DESC", "name ASC"],
    ["experiment_id DESC"],
    ["attribute.name"],
    # refused
    ["nothing"],
    ["tags.team"],
    ["name upwards"],
]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from mlflow.entities import ExperimentTag
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    folder = tmp_path_factory.mktemp("experiments")
    make: Any = SqlAlchemyStore
    theirs = make(f"sqlite:///{folder}/mlflow.db", str(Path(folder) / "artifacts"))
    for name, tags in MADE:
        made = theirs.create_experiment(name, tags=[ExperimentTag(*tag) for tag in tags.items()])
        if name == GONE:
            theirs.delete_experiment(made)
    ours = [
        Experiment(e.experiment_id, e.name, e.lifecycle_stage, e.creation_time, e.last_update_time, e.tags)
        for e in theirs.search_experiments(3)
    ]
    yield ours, theirs
    theirs.engine.dispose()


def found(both: Any, text: str, order: list[str], view: int) -> tuple[list[str] | None, list[str] | None]:
    from mlflow.exceptions import MlflowException

    ours: list[str] | None
    theirs: list[str] | None
    try:
        ours = [e.name for e in find_experiments(both[0], view, text, order)]
    except FilterError:
        ours = None
    try:
        theirs = [e.name for e in both[1].search_experiments(view, 100, text, order or None)]
    except MlflowException:
        theirs = None
    return ours, theirs


@pytest.mark.parametrize("text", FILTERS)
def test_a_filter_gives_what_mlflow_gives(both: Any, text: str) -> None:
    ours, theirs = found(both, text, ["name"], 3)
    assert ours == theirs
    assert (ours is None) == (FILTERS.index(text) >= FILTERS.index("name = alpha"))


@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("view", [1, 2, 3])
def test_an_order_gives_what_mlflow_gives(both: Any, order: list[str], view: int) -> None:
    ours, theirs = found(both, "", order, view)
    assert ours == theirs


def test_ids_and_missing_tags_are_searched_too(both: Any) -> None:
    listed = both[0][:2]
    ids = ", ".join(f"'{e.experiment_id}'" for e in listed)
    assert {e.name for e in find_experiments(both[0], "ALL", f"experiment_id IN ({ids})", [])} == {
        e.name for e in listed
    }
    assert {e.name for e in find_experiments(both[0], "ALL", "tags.team IS NULL", [])} == {"Default", GONE}
    assert {e.name for e in find_experiments(both[0], 1, "name = 'alpha' OR (name = 'größe')", [])} == {
        "alpha",
        "größe",
    }
    for view in (4, "some"):
        with pytest.raises(UsageError):
            find_experiments(both[0], view, "", [])
