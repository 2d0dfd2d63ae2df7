"""Searching logged models: filters, datasets, orders and pages as MLflow's SQL store has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Metric
from mlflow.entities.logged_model_parameter import LoggedModelParameter
from mlflow.entities.logged_model_status import LoggedModelStatus
from mlflow.entities.logged_model_tag import LoggedModelTag
from mlflow.exceptions import MlflowException

from mltrack.mlflow_plugin.tracking import TrackingStore
from tests.support.plugin.versions import differs_since

TRAIN, TEST = ("train", "d1"), ("test", "d2")


class Searched:
    """A store with a few models, and what a search in its experiments finds, by name."""

    def __init__(self, tracking: Any) -> None:
        self.tracking = tracking
        self.other = tracking.create_experiment("other")
        self.runs = sorted(tracking.create_run("0", "me", 0, [], name).info.run_id for name in ("r", "s"))
        self.ids: dict[str, str] = {}
        self.add("alpha", {"lr": "0.1", "opt": "adam"}, {"team": "red"}, "agent")
        self.add("Beta", {"lr": "0.2"}, {"team": "blue", "a b": "50%_x"}, "classifier")
        self.add("gamma", {}, {})
        self.add("delta", {"lr": "0.1"}, {"team": "Red"})
        self.add("gone", {"lr": "0.1"}, {"team": "red"})
        self.add("elsewhere", {"lr": "0.1"}, {"team": "red"}, experiment_id=self.other)
        tracking.finalize_logged_model(self.ids["delta"], LoggedModelStatus.READY)
        tracking.delete_logged_model(self.ids["gone"])
        self.log("alpha", "acc", 0.9, step=5, time=100, dataset=TRAIN)
        self.log("alpha", "acc", 0.5, step=1, time=200, dataset=TEST)
        self.log("Beta", "acc", 0.8, step=1, time=100, dataset=TRAIN)
        self.log("Beta", "acc", 0.7, step=2, time=100, dataset=TRAIN)
        self.log("Beta", "loss", 3.0, step=0, time=100)
        self.log("delta", "acc", 0.6, step=0, time=100, run=1)
        self.log("delta", "acc", 0.95, step=0, time=100, run=0)

    def add(
        self,
        name: str,
        params: dict[str, str],
        tags: dict[str, str],
        model_type: str | None = None,
        experiment_id: str = "0",
    ) -> None:
        model = self.tracking.create_logged_model(
            experiment_id,
            name,
            None,
            [LoggedModelTag(*entry) for entry in tags.items()],
            [LoggedModelParameter(*entry) for entry in params.items()],
            model_type,
        )
        self.ids[name] = model.model_id

    def log(
        self,
        name: str,
        key: str,
        value: float,
        *,
        step: int,
        time: int,
        run: int = 0,
        dataset: tuple[str, str] = (None, None),  # type: ignore[assignment]
    ) -> None:
        metric = Metric(key, value, time, step, self.ids[name], *dataset)
        self.tracking._log_model_metrics(run_id=self.runs[run], experiment_id="0", metrics=[metric])

    def find(self, filter_string: str | None = None, **options: Any) -> list[str]:
        return [model.name for model in self.tracking.search_logged_models(["0"], filter_string, **options)]

    def names(self, filter_string: str, **options: Any) -> set[str]:
        found = self.find(filter_string, **options)
        assert len(found) == len(set(found))
        return set(found)

    def each(self, *filters: str, **options: Any) -> dict[str, set[str]]:
        return {text: self.names(text, **options) for text in filters}


@pytest.fixture
def ours(tmp_path: Path) -> Any:
    """An empty mltrack store."""
    return TrackingStore(f"mltrack://{tmp_path}/.mltrack")


@pytest.fixture
def searched(tracking: Any) -> Searched:
    return Searched(tracking)


ACTIVE = {"alpha", "Beta", "gamma", "delta"}


def test_models_are_found_by_attributes(searched: Searched) -> None:
    first = searched.tracking.get_logged_model(searched.ids["alpha"])
    wanted = {
        "name = 'alpha'": {"alpha"},
        "attributes.name = 'alpha'": {"alpha"},
        "name != 'alpha'": ACTIVE - {"alpha"},
        "name LIKE '%a'": ACTIVE,
        "name like 'B_ta'": {"Beta"},
        "name LIKE 'ALPHA'": set(),
        "name ILIKE 'ALPHA'": {"alpha"},
        "name ILIKE 'a%a'": {"alpha"},
        "name IN ('alpha', 'gone', 'delta')": {"alpha", "delta"},
        "name IN ('alpha')": {"alpha"},
        "name NOT IN ('alpha', 'Beta')": {"gamma", "delta"},
        "model_type = 'agent'": {"alpha"},
        "model_type != 'agent'": {"Beta"},
        "model_type NOT IN ('agent')": {"Beta"},
        "status_message LIKE '%'": set(),
        f"model_id = '{first.model_id}'": {"alpha"},
        f"artifact_location = '{first.artifact_location}'": {"alpha"},
        "experiment_id = '0'": ACTIVE,
        "experiment_id = '1'": set(),
        "lifecycle_stage = 'active'": ACTIVE,
        "lifecycle_stage = 'deleted'": set(),
        "creation_time > 0": ACTIVE,
        "creation_timestamp > 0 AND last_updated_timestamp > 0": ACTIVE,
        f"creation_timestamp_ms < {first.creation_timestamp}": set(),
        f"creation_timestamp = {first.creation_timestamp} AND name = 'alpha'": {"alpha"},
        "name = 'alpha' AND model_type = 'agent'": {"alpha"},
        "name = 'alpha' AND model_type = 'classifier'": set(),
    }
    assert searched.each(*wanted) == wanted


def test_models_are_found_by_params_and_tags_and_missing_ones_match_nothing(searched: Searched) -> None:
    wanted = {
        "params.lr = '0.1'": {"alpha", "delta"},
        "params.lr = 0.1": {"alpha", "delta"},
        "params.lr != '0.1'": {"Beta"},
        "params.lr NOT IN ('0.1')": {"Beta"},
        "params.lr = '0.1' AND params.opt = 'adam'": {"alpha"},
        "params.opt LIKE 'a%'": {"alpha"},
        "params.nothing != 'x'": set(),
        "tags.team = 'red'": {"alpha"},
        "tags.team ILIKE 'RED'": {"alpha", "delta"},
        "tags.team != 'red'": {"Beta", "delta"},
        "tags.`a b` = '50%_x'": {"Beta"},
        "tags.`a b` LIKE '50%'": {"Beta"},
        "tags.team IN ('red', 'blue') AND params.lr = '0.2'": {"Beta"},
    }
    assert searched.each(*wanted) == wanted


def test_a_metric_matches_when_any_of_its_values_does(searched: Searched) -> None:
    differs_since("3.18", searched.tracking, "the last value counts")
    wanted = {
        "metrics.acc > 0.8": {"alpha", "delta"},
        "metrics.acc >= 0.8": {"alpha", "Beta", "delta"},
        "metrics.acc < 0.6": {"alpha"},
        "metrics.acc <= 0.6": {"alpha", "delta"},
        "metrics.acc = 0.7": {"Beta"},
        "metrics.acc != 0.7": {"alpha", "Beta", "delta"},
        "metrics.acc > 0.8 AND metrics.acc < 0.6": {"alpha"},
        "metrics.acc > 0 AND metrics.loss > 1": {"Beta"},
        "metrics.nothing != 1": set(),
        "metrics.acc > 0 AND name LIKE 'd%' AND params.lr = '0.1'": {"delta"},
    }
    assert searched.each(*wanted) == wanted


def test_a_dataset_restricts_which_values_of_a_metric_count(searched: Searched) -> None:
    train, test = {"dataset_name": "train"}, {"dataset_name": "test", "dataset_digest": "d2"}
    strange = {"dataset_name": "train", "dataset_digest": "d2"}
    assert searched.names("", datasets=[train]) == {"alpha", "Beta"}
    assert searched.names("", datasets=[test]) == {"alpha"}
    assert searched.names("", datasets=[strange]) == set()
    assert searched.names("", datasets=[strange, test]) == {"alpha"}
    assert searched.names("metrics.acc > 0.8", datasets=[train]) == {"alpha"}
    assert searched.names("metrics.acc > 0.8", datasets=[test]) == set()
    assert searched.names("metrics.acc > 0.6", datasets=[train, test]) == {"alpha", "Beta"}
    assert searched.names("metrics.loss > 0", datasets=[train]) == set()
    assert searched.names("params.lr = '0.1'", datasets=[train]) == {"alpha"}
    assert searched.names("name = 'delta'", datasets=[train]) == set()


def test_only_active_models_of_the_requested_experiments_are_found(searched: Searched) -> None:
    def names(*ids: Any) -> set[str]:
        return {model.name for model in searched.tracking.search_logged_models(list(ids))}

    assert names("0") == names(0) == ACTIVE
    assert names(searched.other) == {"elsewhere"}
    assert names("0", searched.other) == {*ACTIVE, "elsewhere"}
    assert names() == names("999") == set()


def test_without_an_order_the_latest_is_first_then_the_smallest_id(searched: Searched) -> None:
    found = searched.tracking.search_logged_models(["0"])
    assert found == sorted(found, key=lambda model: (-model.creation_timestamp, model.model_id))


def test_attributes_are_ordered_with_missing_values_last(searched: Searched) -> None:
    def ordered(*clauses: tuple[str, bool]) -> list[str]:
        return searched.find(order_by=[{"field_name": name, "ascending": up} for name, up in clauses])

    assert ordered(("name", True)) == ["Beta", "alpha", "delta", "gamma"]
    assert ordered(("name", False)) == ["gamma", "delta", "alpha", "Beta"]
    assert ordered(("model_type", True), ("name", True)) == ["alpha", "Beta", "delta", "gamma"]
    assert ordered(("model_type", False), ("name", True)) == ["Beta", "alpha", "delta", "gamma"]
    assert ordered(("status", False), ("name", True)) == ["delta", "Beta", "alpha", "gamma"]
    assert ordered(("experiment_id", True), ("name", True)) == ["Beta", "alpha", "delta", "gamma"]
    assert searched.find(order_by=[{"field_name": "name"}]) == ["Beta", "alpha", "delta", "gamma"]
    by_id = sorted(ACTIVE, key=searched.ids.__getitem__)
    assert ordered(("model_id", True)) == by_id
    assert ordered(("model_id", False)) == by_id[::-1]
    times = searched.tracking.search_logged_models(["0"], order_by=[{"field_name": "creation_time"}])
    assert times == sorted(times, key=lambda model: (model.creation_timestamp, model.model_id))


def test_metrics_are_ordered_by_the_last_value_logged(searched: Searched) -> None:
    differs_since("3.18", searched.tracking, "the greatest step counts")

    def ordered(field: str, up: bool, **dataset: str) -> list[str]:
        clauses = [{"field_name": field, "ascending": up, **dataset}, {"field_name": "name"}]
        return searched.find(order_by=clauses)

    # alpha 0.5 (later in time), Beta 0.7 (greater step), delta 0.95 (the lesser run id)
    assert ordered("metrics.acc", True) == ["alpha", "Beta", "delta", "gamma"]
    assert ordered("metrics.acc", False) == ["delta", "Beta", "alpha", "gamma"]
    assert ordered("metrics.acc", False, dataset_name="train") == ["alpha", "Beta", "delta", "gamma"]
    on_test = ordered("metrics.acc", False, dataset_name="test", dataset_digest="d2")
    assert on_test == ["alpha", "Beta", "delta", "gamma"]
    assert ordered("metrics.acc", True, dataset_name="train", dataset_digest="x") == ["Beta", "alpha", "delta", "gamma"]
    assert ordered("metrics.loss", True) == ["Beta", "alpha", "delta", "gamma"]
    assert ordered("metrics.no.such", True) == ["Beta", "alpha", "delta", "gamma"]


def test_pages_are_consecutive_to_the_end(searched: Searched) -> None:
    order = [{"field_name": "name", "ascending": True}]
    find = searched.tracking.search_logged_models
    first = find(["0"], "name != 'x'", max_results=2, order_by=order)
    assert ([model.name for model in first], bool(first.token)) == (["Beta", "alpha"], True)
    second = find(["0"], "name != 'x'", max_results=2, order_by=order, page_token=first.token)
    assert ([model.name for model in second], second.token) == (["delta", "gamma"], None)
    assert len(find(["0"], max_results=0)) == 4
    for other in ({"filter_string": "name != 'y'", "order_by": order}, {"filter_string": "name != 'x'"}):
        with pytest.raises(MlflowException, match="in the page token does not match") as refused:
            find(["0"], page_token=first.token, **other)
        assert refused.value.error_code == "INVALID_PARAMETER_VALUE"
    with pytest.raises(MlflowException, match="in the page token do not match"):
        find(["1"], "name != 'x'", order_by=order, page_token=first.token)


@pytest.mark.parametrize(
    "filter_string",
    [
        "name",
        "name = 'a' OR name = 'b'",
        "name = 'a'; name = 'b'",
        "name RLIKE 'a'",
        "name > 'a'",
        "params.lr > 0.1",
        "metrics.acc LIKE '1'",
        "attribute.name = 'a'",
        "datasets.name = 'a'",
        "model_type IS NULL",
        "name IN 'a'",
        "name = 'a",
        "   ",
    ],
)
def test_an_invalid_filter_is_refused(tracking: Any, filter_string: str) -> None:
    with pytest.raises(MlflowException) as refused:
        tracking.search_logged_models(["0"], filter_string)
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize(
    "options",
    [
        {"order_by": [{"field_name": "nothing"}]},
        {"order_by": [{"field_name": "params.lr"}]},
        {"order_by": [{"field_name": "attributes.name"}]},
        {"datasets": [{"dataset_digest": "d1"}]},
        {"datasets": [{"dataset_name": ""}]},
        {"experiment_ids": ["none"]},
        {"page_token": "!!"},
    ],
    ids=str,
)
def test_an_invalid_option_is_refused(tracking: Any, options: dict[str, Any]) -> None:
    with pytest.raises(MlflowException) as refused:
        tracking.search_logged_models(**{"experiment_ids": ["0"], **options})
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"


# --- where we differ on purpose: MLflow's SQL store answers these with an internal error, or wrongly ---


@pytest.mark.parametrize(
    "options",
    [
        {"filter_string": "metrics.acc > high"},
        {"filter_string": "creation_time = 'a'"},
        {"filter_string": "name IN (a)"},
        {"filter_string": "name IN (1)"},
        {"filter_string": "tags = 'a'"},
        {"filter_string": "nothing = 'a'"},
        {"filter_string": "attributes.creation_time LIKE 'a'"},
        {"filter_string": "attributes.creation_time = 'a'"},
        {"order_by": [{"field_name": "tags"}]},
        {"order_by": [{}]},
        {"page_token": "abc"},
        {"page_token": "W10="},
        {"max_results": -1},
    ],
    ids=str,
)
def test_what_the_sql_store_fails_on_is_a_bad_parameter_in_mltrack(ours: Any, options: dict[str, Any]) -> None:
    with pytest.raises(MlflowException) as refused:
        ours.search_logged_models(["0"], **options)
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"


def test_a_status_can_be_compared_by_its_name(ours: Any) -> None:
    searched = Searched(ours)
    wanted = {
        "status = 'READY'": {"delta"},
        "status != 'READY'": ACTIVE - {"delta"},
        "status IN ('READY', 'PENDING')": ACTIVE,
        "status NOT IN ('PENDING')": {"delta"},
        "status ILIKE 'rea%'": {"delta"},
        "status = '2'": {"delta"},
        "status != '2'": ACTIVE - {"delta"},
        "attributes.creation_time > 0": ACTIVE,
    }
    assert searched.each(*wanted) == wanted


def test_pages_of_an_empty_filter_are_consecutive(ours: Any) -> None:
    searched = Searched(ours)
    first = ours.search_logged_models(["0"], "", max_results=3, order_by=[])
    second = ours.search_logged_models(["0"], "", max_results=3, order_by=[], page_token=first.token)
    assert {model.model_id for model in [*first, *second]} == {searched.ids[name] for name in ACTIVE}


def test_nan_is_ordered_after_all_numbers_and_is_kept(ours: Any) -> None:
    searched = Searched(ours)
    searched.log("gamma", "acc", float("nan"), step=0, time=100)
    for up, first in ((True, ["alpha", "Beta", "delta"]), (False, ["delta", "Beta", "alpha"])):
        assert searched.find(order_by=[{"field_name": "metrics.acc", "ascending": up}]) == [*first, "gamma"]
    assert searched.names("metrics.acc < 0 AND metrics.acc >= 0") == set()


def test_ilike_ignores_the_case_of_all_letters(ours: Any) -> None:
    """SQLite knows that of English ones only."""
    searched = Searched(ours)
    searched.add("größe", {}, {})
    assert searched.names("name ILIKE 'GRÖ_E'") == {"größe"}
