"""Nothing of MLflow's interface is left out in silence: its abstract methods are not enforced, and return None."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.abstract_store import AbstractStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from mltrack.mlflow_plugin.tracking import TrackingStore
from mltrack.mlflow_plugin.tracking.database import DATABASE_METHODS, LISTED
from mltrack.mlflow_plugin.tracking.unsupported import EMPTY_LISTS, REFUSED
from tests.support import ROOT

PAGE = ROOT / "docs" / "mlflow-compatibility.md"
REFUSED_METHODS = sorted(name for names in REFUSED.values() for name in names)

# what MLflow's own class does well for any store, on top of the rest
INHERITED = {
    "delete_traces",
    "end_async_logging",
    "filter_active_experiment_ids",
    "flush_async_logging",
    "list_scorers_across_experiments",
    "log_metric_async",
    "log_param_async",
    "log_spans_async",
    "resolve_trace_archival_config",
    "search_runs",
    "set_model_versions_tags",
    "set_tag_async",
    "shut_down_async_logging",
}

# of the SQL store, beyond the interface: what MLflow's server, client or command line calls where a store has it
CALLED = {
    "_get_deleted_logged_models",
    "_get_deleted_runs",
    "_hard_delete_experiment",
    "_hard_delete_logged_model",
    "_hard_delete_run",
    "_search_datasets",
    "delete_tag",
    "deprecated_end_trace_v2",
    "deprecated_start_trace_v2",
    "get_max_step_for_metric",
    "get_metric_history_bulk",
    "log_logged_model_params",
}


def methods_of_the_interface() -> Iterator[str]:
    for kind in AbstractStore.__mro__:
        if kind.__module__.startswith("mlflow."):
            yield from (
                name
                for name, member in vars(kind).items()
                if inspect.isfunction(member) and not name.startswith("_") and not name.startswith("supports_")
            )


def where(name: str) -> type[Any]:
    return next(kind for kind in TrackingStore.__mro__ if name in vars(kind))


@pytest.fixture
def store(tmp_path: Path) -> TrackingStore:
    return TrackingStore(f"mltrack://{tmp_path}/.mltrack")


@pytest.mark.parametrize("name", sorted({*methods_of_the_interface(), *CALLED}))
def test_each_method_of_the_interface_is_implemented_or_listed_as_unsupported(name: str) -> None:
    if name in INHERITED:
        assert not where(name).__module__.startswith("mltrack.")
    else:
        assert where(name).__module__.startswith("mltrack."), f"{name} is MLflow's empty one"


@pytest.mark.parametrize("name", sorted(set(methods_of_the_interface()) - INHERITED - {*EMPTY_LISTS, *REFUSED_METHODS}))
def test_each_method_accepts_the_arguments_of_the_sql_store(name: str) -> None:
    theirs = inspect.signature(getattr(SqlAlchemyStore, name)).parameters
    ours = inspect.signature(getattr(TrackingStore, name)).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in ours.values()):
        return
    assert [parameter for parameter in ours if parameter in theirs] == list(theirs)


@pytest.mark.parametrize("name", REFUSED_METHODS)
def test_unsupported_methods_say_so(store: TrackingStore, name: str) -> None:
    with pytest.raises(MlflowException, match=rf"{name}: .*docs/mlflow-compatibility\.md") as caught:
        getattr(store, name)("any", arguments="at all")
    assert caught.value.error_code == "NOT_IMPLEMENTED"


@pytest.mark.parametrize("name", EMPTY_LISTS)
def test_listing_unsupported_things_gives_an_empty_list(store: TrackingStore, name: str) -> None:
    found = getattr(store, name)("any", max_results=3)
    assert found == []
    assert found.token is None


def test_the_page_lists_exactly_what_is_unsupported() -> None:
    text = PAGE.read_text(encoding="utf-8")
    left_out = text[text.index("## Not supported") :]
    table, _, rest = left_out.partition("These return an empty list")
    rows = dict(re.findall(r"^\| ([^|`]+) \| (`.*`) \|$", table, re.MULTILINE))
    assert {feature: tuple(re.findall(r"`(\w+)`", names)) for feature, names in rows.items()} == REFUSED
    assert tuple(re.findall(r"`(\w+)`", rest)) == EMPTY_LISTS


def test_there_are_no_scorers_across_experiments(store: TrackingStore) -> None:
    assert store.list_scorers_across_experiments(["0", "1"]) == []


def test_reading_what_is_kept_in_tables_creates_no_file(store: TrackingStore, tmp_path: Path) -> None:
    for name in LISTED:
        assert getattr(store, name)("0") == []
    assert store._load_dataset_records("d-1", max_results=10, page_token=None) == ([], None)
    assert sorted(path.name for path in (tmp_path / ".mltrack" / "workspace").iterdir()) == []


def test_what_is_kept_in_tables_is_not_listed_as_unsupported() -> None:
    kept = {name for names in DATABASE_METHODS.values() for name in names}
    assert set(LISTED) <= kept
    assert not kept & {*EMPTY_LISTS, *REFUSED_METHODS}
    assert all(where(name).__name__ == "DatabaseMethods" for name in kept)


def test_scorers_are_read_from_the_store(store: TrackingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.absolute_uri)
    assert mlflow.genai.list_scorers(experiment_id="0") == []
