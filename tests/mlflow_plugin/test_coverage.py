"""Nothing of MLflow's interface is left out in silence: its abstract methods are not enforced, and return None."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as SqlRegistry
from mlflow.store.tracking.abstract_store import AbstractStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from packaging.version import Version

from mltrack.mlflow_plugin.registry.store import RegistryStore
from mltrack.mlflow_plugin.registry.webhooks import Webhooks
from mltrack.mlflow_plugin.tracking import TrackingStore
from mltrack.mlflow_plugin.tracking.database import DatabaseMethods, delegate
from mltrack.mlflow_plugin.tracking.delegated import DATABASE_METHODS, LISTED
from mltrack.mlflow_plugin.tracking.newer import interface_methods, with_newer_methods
from mltrack.mlflow_plugin.tracking.unsupported import REFUSED, Unsupported
from tests.support import ROOT

ON_PAGE = (3, 17)
"""The version of MLflow whose methods the page lists; those of a newer one are passed on or refused, and named."""
PAGE = ROOT / "docs" / "mlflow-compatibility.md"
INTERFACE = sorted({name for name, _ in interface_methods(AbstractStore)})
REFUSED_METHODS = sorted(name for names in REFUSED.values() for name in names)

# what MLflow's own class does well for any store, on top of the rest
INHERITED = {
    "delete_traces",
    "end_async_logging",
    "filter_active_experiment_ids",
    "flush_async_logging",
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
    "_get_decrypted_secret",
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


def public_methods(kind: type) -> list[str]:
    return sorted(name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_"))


def where(name: str, kind: type = TrackingStore) -> type[Any]:
    return next(each for each in kind.__mro__ if name in vars(each))


def how(name: str, kind: type) -> str:
    """What the page says of a method: who answers it."""
    delegated = {method: what for what, methods in DATABASE_METHODS.items() for method in methods}
    found = where(name, kind)
    if found is Unsupported:
        return "refused"
    if found is DatabaseMethods:
        return f"delegated: {delegated[name]}"
    if vars(found)[name].__doc__ == delegate("any").__doc__:
        return "delegated: new"
    if found is Webhooks:
        return "delegated: webhooks"
    return "own code" if found.__module__.startswith("mltrack.") else "inherited"


def table(kind: type, methods: list[str]) -> str:
    """The rows of the page's table of one store."""
    rows: dict[str, list[str]] = {}
    for name in methods:
        rows.setdefault(how(name, kind), []).append(name)
    return "\n".join(
        f"| {what} | {len(rows[what])} | {', '.join(f'`{name}`' for name in rows[what])} |" for what in sorted(rows)
    )


@pytest.fixture
def store(tmp_path: Path) -> TrackingStore:
    return TrackingStore(f"mltrack://{tmp_path}/.mltrack")


@pytest.mark.parametrize("name", sorted({*INTERFACE, *CALLED}))
def test_each_method_of_the_interface_is_implemented_or_listed_as_unsupported(name: str) -> None:
    if name in INHERITED:
        assert not where(name).__module__.startswith("mltrack.")
    else:
        assert where(name).__module__.startswith("mltrack."), f"{name} is MLflow's empty one"


@pytest.mark.filterwarnings("default:new in MLflow")
@pytest.mark.parametrize(
    ("theirs", "ours"), [(SqlAlchemyStore, TrackingStore), (SqlRegistry, RegistryStore)], ids=["tracking", "registry"]
)
def test_the_page_says_who_answers_each_public_method_of_the_sql_store(theirs: type, ours: type) -> None:
    page, methods = PAGE.read_text(encoding="utf-8"), public_methods(theirs)
    assert [name for name in methods if not hasattr(ours, name)] == []
    new = [name for name in methods if f"`{name}`" not in page]
    if new and Version(mlflow.__version__).release[:2] != ON_PAGE:
        warnings.warn(f"new in MLflow {mlflow.__version__}:\n{table(ours, new)}", stacklevel=1)
        methods = [name for name in methods if name not in new]
    expected = table(ours, methods)
    assert expected in page, f"the page should have these rows:\n{expected}"


@pytest.mark.parametrize("name", sorted(set(INTERFACE) - INHERITED - {*REFUSED_METHODS}))
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


def test_the_page_lists_exactly_what_is_unsupported() -> None:
    text = PAGE.read_text(encoding="utf-8")
    left_out = text[text.index("## Not supported") :]
    rows = dict(re.findall(r"^\| ([^|`]+) \| (`.*`) \|$", left_out, re.MULTILINE))
    assert {feature: tuple(re.findall(r"`(\w+)`", names)) for feature, names in rows.items()} == REFUSED


class Newer(AbstractStore):
    """The interface of a later MLflow."""

    __module__ = "mlflow.store"

    def list_scorers(self, experiment_id: str) -> Any:
        """Is there already."""

    def search_notebooks(self, experiment_id: str) -> Any:
        """New, and about nothing that the store keeps."""

    def merge_runs(self, run_ids: list[str]) -> Any:
        """New, and about what the store keeps."""
        raise NotImplementedError(self.__class__.__name__)

    def count_scorers(self, experiment_id: str) -> int:
        """New, and built on the others."""
        return len(self.list_scorers(experiment_id))


class LaterStore(TrackingStore, Newer):
    """The store, with the interface of a later MLflow."""


@pytest.mark.parametrize(
    "call", [lambda store: store.search_notebooks("0"), lambda store: store.merge_runs(["a"])], ids=["other", "runs"]
)
def test_a_method_of_a_newer_mlflow_is_passed_on_or_refused_and_never_returns_none(
    tmp_path: Path, call: Callable[[Any], Any]
) -> None:
    with_newer_methods(LaterStore, Newer)
    store = LaterStore(f"mltrack://{tmp_path}/.mltrack")
    with pytest.raises(MlflowException, match=r"docs/mlflow-compatibility\.md") as caught:
        call(store)  # the installed SQL store has neither
    assert caught.value.error_code == "NOT_IMPLEMENTED"
    assert store.count_scorers("0") == 0


def test_there_are_no_scorers_across_experiments(store: TrackingStore) -> None:
    assert store.list_scorers_across_experiments(["0", "1"]) == []


def test_reading_records_creates_no_file(store: TrackingStore, tmp_path: Path) -> None:
    assert store._load_dataset_records("d-1", max_results=10, page_token=None) == ([], None)
    assert sorted(path.name for path in (tmp_path / ".mltrack" / "workspace").iterdir()) == []


def test_what_is_kept_in_tables_is_not_listed_as_unsupported() -> None:
    kept = {name for names in DATABASE_METHODS.values() for name in names}
    assert set(LISTED) <= kept
    assert not kept & {*REFUSED_METHODS}
    assert all(where(name) is DatabaseMethods for name in kept)


def test_scorers_are_read_from_the_store(store: TrackingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.absolute_uri)
    assert mlflow.genai.list_scorers(experiment_id="0") == []
