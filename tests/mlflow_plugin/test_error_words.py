"""Where MLflow's SQL store words an error, ours begins with the same words: clients look for them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import (
    AssessmentSource,
    ExperimentTag,
    Feedback,
    LoggedModelStatus,
    Metric,
    Param,
    RunTag,
    ViewType,
)
from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag
from mlflow.exceptions import MlflowException

from mltrack.mlflow_plugin import run_pool
from mltrack.mlflow_plugin.registry.store import RegistryStore
from mltrack.mlflow_plugin.tracking import TrackingStore
from tests.support.plugin.traced import info

R = "f" * 32
IS_PROMPT = RegisteredModelTag("mlflow.prompt.is_prompt", "true")
Call = Callable[[Any, Any, dict[str, str]], Any]


def judged(trace_id: str) -> Feedback:
    found = Feedback("good", True, source=AssessmentSource("HUMAN", "ada"), trace_id=trace_id)
    found.assessment_id = "a-1"
    return found


# each fails; t is a tracking store, g its registry, x the ids of what is in them
CALLS: dict[str, Call] = {
    "create_experiment taken": lambda t, g, x: t.create_experiment("taken"),
    "create_experiment empty": lambda t, g, x: t.create_experiment(""),
    "get_experiment none": lambda t, g, x: t.get_experiment("123456"),
    "get_experiment bad": lambda t, g, x: t.get_experiment("abc"),
    "delete_experiment none": lambda t, g, x: t.delete_experiment("123456"),
    "restore_experiment active": lambda t, g, x: t.restore_experiment(x["e"]),
    "rename deleted": lambda t, g, x: t.rename_experiment(x["gone"], "n"),
    "set_experiment_tag deleted": lambda t, g, x: t.set_experiment_tag(x["gone"], ExperimentTag("a", "b")),
    "delete_experiment_tag none": lambda t, g, x: t.delete_experiment_tag(x["e"], "none"),
    "create_run deleted exp": lambda t, g, x: t.create_run(x["gone"], "me", 1, [], "r"),
    "create_run no exp": lambda t, g, x: t.create_run("123456", "me", 1, [], "r"),
    "get_run none": lambda t, g, x: t.get_run(R),
    "delete_run none": lambda t, g, x: t.delete_run(R),
    "restore_run none": lambda t, g, x: t.restore_run(R),
    "log_param changed": lambda t, g, x: t.log_param(x["r"], Param("p", "2")),
    "log_metric deleted": lambda t, g, x: t.log_metric(x["dr"], Metric("m", 1.0, 1, 0)),
    "log_metric none": lambda t, g, x: t.log_metric(R, Metric("m", 1.0, 1, 0)),
    "log_metric bad": lambda t, g, x: t.log_metric(x["r"], Metric("m", "x", 1, 0)),  # type: ignore[arg-type]
    "log_batch none": lambda t, g, x: t.log_batch(R, [], [Param("a", "b")], []),
    "set_tag deleted": lambda t, g, x: t.set_tag(x["dr"], RunTag("a", "b")),
    "delete_tag none": lambda t, g, x: t.delete_tag(x["r"], "none"),
    "update_run_info none": lambda t, g, x: t.update_run_info(R, "FINISHED", 1, "n"),
    "get_logged_model none": lambda t, g, x: t.get_logged_model("m-" + "0" * 32),
    "delete_logged_model none": lambda t, g, x: t.delete_logged_model("m-" + "0" * 32),
    "delete_logged_model_tag none": lambda t, g, x: t.delete_logged_model_tag(x["lm"], "zz"),
    "finalize none": lambda t, g, x: t.finalize_logged_model("m-" + "0" * 32, LoggedModelStatus.READY),
    "create_logged_model deleted": lambda t, g, x: t.create_logged_model(x["gone"], "n"),
    "create_logged_model bad": lambda t, g, x: t.create_logged_model("abc", "n"),
    "search_logged_models bad": lambda t, g, x: t.search_logged_models(["abc"]),
    "log_logged_model_params none": lambda t, g, x: t.log_logged_model_params("m-" + "0" * 32, []),
    "create_logged_model noexp": lambda t, g, x: t.create_logged_model("123456", "n"),
    "get_trace_info none": lambda t, g, x: t.get_trace_info("tr-none"),
    "get_trace none": lambda t, g, x: t.get_trace("tr-none", allow_partial=True),
    "delete_trace_tag none": lambda t, g, x: t.delete_trace_tag("tr-none", "k"),
    "create_assessment twice": lambda t, g, x: [t.create_assessment(judged(x["t"])) for _ in range(2)],
    "get_assessment none": lambda t, g, x: t.get_assessment("tr-none", "a-1"),
    "search max_results": lambda t, g, x: t.search_runs([x["e"]], "", ViewType.ACTIVE_ONLY, max_results=10**9),
    "search_runs unknown attribute": lambda t, g, x: t.search_runs([x["e"]], "attribute.experiment_id = 'x'", 1),
    "search_runs no comparison": lambda t, g, x: t.search_runs([x["e"]], "foo", 1),
    "search_runs a number for a param": lambda t, g, x: t.search_runs([x["e"]], "params.lr = 3", 1),
    "search_runs a text for a metric": lambda t, g, x: t.search_runs([x["e"]], "metrics.loss > 'x'", 1),
    "search_runs unknown entity": lambda t, g, x: t.search_runs([x["e"]], "blah.x = 'y'", 1),
    "search_runs unknown order": lambda t, g, x: t.search_runs([x["e"]], "", 1, order_by=["blah.x"]),
    "search_runs two orders": lambda t, g, x: t.search_runs([x["e"]], "", 1, order_by=["metrics.a DESC DESC"]),
    "search_runs a comparator for a tag": lambda t, g, x: t.search_runs([x["e"]], "tags.a > 'x'", 1),
    "search_runs a comparator for a param": lambda t, g, x: t.search_runs([x["e"]], "params.a >= 'x'", 1),
    "search_runs a comparator for a metric": lambda t, g, x: t.search_runs([x["e"]], "metrics.a LIKE 'x'", 1),
    "search_runs a comparator for an attribute": lambda t, g, x: t.search_runs([x["e"]], "attributes.run_id < 'x'", 1),
    "search_runs a comparator for a time": lambda t, g, x: t.search_runs([x["e"]], "start_time LIKE '1'", 1),
    "search_runs order of datasets": lambda t, g, x: t.search_runs([x["e"]], "", 1, order_by=["dataset.name"]),
    "search_runs token": lambda t, g, x: t.search_runs([x["e"]], "", 1, page_token="x"),
    "search_runs token of text": lambda t, g, x: t.search_runs([x["e"]], "", 1, page_token="eHh4"),
    "set_tag number as name": lambda t, g, x: t.set_tag(x["r"], RunTag(5, "b")),  # type: ignore[arg-type]
    "set_tag number": lambda t, g, x: t.set_tag(x["r"], RunTag("a", 5)),  # type: ignore[arg-type]
    "update_run_info status": lambda t, g, x: t.update_run_info(x["r"], 99, 1, "n"),
    "search_experiments max": lambda t, g, x: t.search_experiments(max_results=-1),
    "search_traces max": lambda t, g, x: t.search_traces([x["e"]], max_results=10**9),
    "search_traces bad": lambda t, g, x: t.search_traces([x["e"]], filter_string="zz = 1"),
    "get_dataset none": lambda t, g, x: t.get_dataset("d-none"),
    "get_scorer none": lambda t, g, x: t.get_scorer(x["e"], "none"),
    "delete_scorer none": lambda t, g, x: t.delete_scorer(x["e"], "none"),
    "get_issue none": lambda t, g, x: t.get_issue("iss-none"),
    "get_label_schema none": lambda t, g, x: t.get_label_schema("ls-none"),
    "get_review_queue none": lambda t, g, x: t.get_review_queue("rq-none"),
    "get_mcp_server none": lambda t, g, x: t.get_mcp_server("com.example/x"),
    "create model taken": lambda t, g, x: g.create_registered_model("m"),
    "create model over prompt": lambda t, g, x: g.create_registered_model("pr"),
    "create prompt over model": lambda t, g, x: g.create_registered_model("m", tags=[IS_PROMPT]),
    "get model none": lambda t, g, x: g.get_registered_model("none"),
    "rename model none": lambda t, g, x: g.rename_registered_model("none", "n"),
    "rename model taken": lambda t, g, x: g.rename_registered_model("m", "other"),
    "delete model none": lambda t, g, x: g.delete_registered_model("none"),
    "update model none": lambda t, g, x: g.update_registered_model("none", "d"),
    "set model tag none": lambda t, g, x: g.set_registered_model_tag("none", RegisteredModelTag("a", "b")),
    "latest none": lambda t, g, x: g.get_latest_versions("none"),
    "create version none": lambda t, g, x: g.create_model_version("none", "s3://x"),
    "get version none": lambda t, g, x: g.get_model_version("m", 99),
    "get version no model": lambda t, g, x: g.get_model_version("none", 1),
    "get version bad": lambda t, g, x: g.get_model_version("m", "x"),
    "update version none": lambda t, g, x: g.update_model_version("m", 99, "d"),
    "delete version none": lambda t, g, x: g.delete_model_version("m", 99),
    "get version below one": lambda t, g, x: g.get_model_version("m", -1),
    "set alias below one": lambda t, g, x: g.set_registered_model_alias("m", "a", -1),
    "get version none could have": lambda t, g, x: g.get_model_version("m", 10**15),
    "list_scorers bad": lambda t, g, x: t.list_scorers("abc"),
    "list_scorers none": lambda t, g, x: t.list_scorers("123456"),
    "list_scorers_across_experiments bad": lambda t, g, x: t.list_scorers_across_experiments(["abc"]),
    "list_review_queues none": lambda t, g, x: t.list_review_queues("123456"),
    "search_datasets max": lambda t, g, x: t.search_datasets(max_results=0),
    "search_datasets token": lambda t, g, x: t.search_datasets(page_token="x"),
    "search_issues max": lambda t, g, x: t.search_issues(max_results=10**9),
    "search_issues bad": lambda t, g, x: t.search_issues("abc"),
    "search_logged_models empty": lambda t, g, x: t.search_logged_models([""]),
    "search_runs empty": lambda t, g, x: t.search_runs([""], "", ViewType.ALL),
    "search_runs no id": lambda t, g, x: t.search_runs([None], "", ViewType.ALL),
    "search datasets of runs, empty": lambda t, g, x: t._search_datasets([""]),
    "search models, a comparator": lambda t, g, x: g.search_registered_models("tags.a > 'x'"),
    "search versions, a comparator": lambda t, g, x: g.search_model_versions("name > 'x'"),
    "stage none": lambda t, g, x: g.transition_model_version_stage("m", 99, "Production", False),
    "stage bad": lambda t, g, x: g.transition_model_version_stage("m", 1, "zz", False),
    "archive bad": lambda t, g, x: g.transition_model_version_stage("m", 1, "None", True),
    "set version tag none": lambda t, g, x: g.set_model_version_tag("m", 99, ModelVersionTag("a", "b")),
    "download none": lambda t, g, x: g.get_model_version_download_uri("m", 99),
    "alias none": lambda t, g, x: g.get_model_version_by_alias("m", "none"),
    "alias no model": lambda t, g, x: g.get_model_version_by_alias("none", "none"),
    "alias latest none": lambda t, g, x: g.get_model_version_by_alias("other", "latest"),
    "set alias none": lambda t, g, x: g.set_registered_model_alias("m", "a", 99),
    "set alias no model": lambda t, g, x: g.set_registered_model_alias("none", "a", 1),
    "set alias reserved": lambda t, g, x: g.set_registered_model_alias("m", "v1", 1),
    "delete alias no model": lambda t, g, x: g.delete_registered_model_alias("none", "a"),
    "get prompt version none": lambda t, g, x: g.get_prompt_version("pr", 9),
    "get prompt version alias": lambda t, g, x: g.get_prompt_version_by_alias("pr", "x"),
    "create version unknown source": lambda t, g, x: g.create_model_version("m", "models:/none/1"),
}


class Both:
    """A tracking store and its registry, with some things in them."""

    def __init__(self, tracking: Any, registry: Any) -> None:
        self.tracking = tracking
        self.registry = registry
        experiment = tracking.create_experiment("taken")
        gone = tracking.create_experiment("gone")
        tracking.delete_experiment(gone)
        run = tracking.create_run(experiment, "me", 1, [], "r").info.run_id
        tracking.log_param(run, Param("p", "1"))
        deleted = tracking.create_run(experiment, "me", 1, [], "r").info.run_id
        tracking.delete_run(deleted)
        for name in ("m", "other"):
            registry.create_registered_model(name)
        registry.create_model_version("m", "s3://x")
        registry.create_registered_model("pr", tags=[IS_PROMPT])
        model = tracking.create_logged_model(experiment, "lm").model_id
        trace = tracking.start_trace(info(1, experiment)).trace_id
        self.ids = {"t": trace, "e": experiment, "gone": gone, "r": run, "dr": deleted, "lm": model}

    def error(self, call: Call) -> tuple[str, str]:
        """The code and words of what is raised, with names in place of ids."""
        with pytest.raises(MlflowException) as caught:
            call(self.tracking, self.registry, self.ids)
        words = str(caught.value.message)
        for name, text in self.ids.items():
            words = re.sub(rf"((?:experiment|id|run|ID)(?: |=|='| '))({text})\b", rf"\1<{name}>", words)
        return str(caught.value.error_code), words


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Both]:
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as SqlRegistry
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    folder = tmp_path_factory.mktemp("theirs")
    shutil.copy(empty_database, folder / "mlflow.db")
    tracking = SqlAlchemyStore(f"sqlite:///{folder}/mlflow.db", str(folder / "artifacts"))
    registry = SqlRegistry(f"sqlite:///{folder}/mlflow.db")
    yield Both(tracking, registry)
    tracking._dispose_engine()
    registry.engine.dispose()


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    uri = f"mltrack://{tmp_path_factory.mktemp('ours')}/.mltrack"
    tracking = TrackingStore(uri)
    yield Both(tracking, RegistryStore(uri, uri))
    run_pool.of(tracking._store).close_all()


@pytest.mark.parametrize("name", CALLS)
def test_an_error_begins_with_the_words_of_the_sql_store(name: str, theirs: Both, ours: Both) -> None:
    code, words = theirs.error(CALLS[name])
    without_details = words.partition(" Error: (")[0].rstrip(".")  # the database's own words
    without_details = re.split(" Valid keys are| not one of", without_details)[0]  # sets, in any order
    ours_code, ours_words = ours.error(CALLS[name])
    assert ours_code == code
    assert ours_words.startswith(without_details)
