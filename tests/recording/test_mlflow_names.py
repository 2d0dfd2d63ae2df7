"""The record API stands in for MLflow's: each public name and parameter is taken, or listed with a reason."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import mltrack
from mltrack.recording.mlflow_names import ELSEWHERE
from tests.support import ROOT
from tests.support.recording import run_python

PAGE = (ROOT / "docs" / "mlflow-differences.md").read_text(encoding="utf-8")

INNARDS = {  # MLflow's own parts, which scripts have no use for; some are there once anything imported them
    "IS_TRACING_SDK_ONLY", "LazyLoader", "MLFLOW_CONFIGURE_LOGGING", "RunOperations", "TYPE_CHECKING", "VERSION",
    "azure", "contextlib", "entities", "environment_variables", "error_classification", "legacy_databricks_cli",
    "maybe_hint_tracing_skill", "mismatch", "ml_package_versions", "mlflow", "prompt", "protos", "pytest", "server",
    "set_telemetry_client", "store", "system_metrics", "telemetry", "types", "utils", "version", "webhooks",
}  # fmt: skip


def mlflow_s_names() -> set[str]:
    """What is public in ``mlflow`` and in its fluent module."""
    import mlflow
    import mlflow.tracking.fluent as fluent

    own = {name for name, thing in vars(fluent).items() if getattr(thing, "__module__", "") == fluent.__name__}
    names = {*mlflow.__all__, *dir(mlflow), *own}
    return {name for name in names if name.isidentifier() and not name.startswith("_")} - INNARDS


def listed_as_missing() -> set[str]:
    section = PAGE.partition("## Not in the record API")[2].partition("| --- | --- |")[2]
    rows = [row.split("|")[2] for row in section.strip().splitlines()]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def not_taken() -> set[tuple[str, str]]:
    section = PAGE.partition("Parameters that are not taken:")[2].partition("\n\n")[0]
    return set(re.findall(r"`(\w+)\((\w+)=\)`", section))


def test_every_name_of_mlflow_exists_or_is_listed_with_a_reason() -> None:
    assert mlflow_s_names() - set(mltrack.__all__) == listed_as_missing() & mlflow_s_names()
    assert listed_as_missing() == ELSEWHERE
    assert ELSEWHERE.isdisjoint(mltrack.__all__)


def test_a_missing_name_says_how_to_get_it() -> None:
    code = f"""
import mltrack
for name in {sorted(ELSEWHERE)!r}:
    assert not hasattr(mltrack, name), name
    try:
        getattr(mltrack, name)
    except AttributeError as error:
        assert "MLFLOW_TRACKING_URI=mltrack:" in str(error)
import sys
assert "mlflow" not in sys.modules
"""
    run_python(code)
    with pytest.raises(AttributeError) as caught:
        mltrack.log_metrik  # type: ignore[attr-defined]  # noqa: B018
    assert str(caught.value) == "module 'mltrack' has no attribute 'log_metrik'"


def shared_functions() -> list[str]:
    return sorted(
        name
        for name in set(mltrack.__all__)
        if name[0].islower() and callable(getattr(mltrack, name)) and name in mlflow_s_names()
    )


VIEWS = {1: "ACTIVE_ONLY"}


@pytest.mark.parametrize("name", shared_functions())
def test_a_function_has_the_parameters_of_mlflows_in_the_same_order(name: str) -> None:
    import mlflow

    ours = inspect.signature(getattr(mltrack, name)).parameters
    theirs = inspect.signature(getattr(mlflow, name)).parameters
    places = {parameter: place for place, parameter in enumerate(ours)}
    for place, (parameter, wanted) in enumerate(theirs.items()):
        if (name, parameter) in not_taken():
            assert parameter not in ours
            continue
        assert parameter in ours, f"{name}({parameter}=) is neither taken nor listed"
        assert wanted.kind == ours[parameter].kind
        assert wanted.kind == inspect.Parameter.KEYWORD_ONLY or places[parameter] == place
        default = wanted.default
        assert ours[parameter].default == (default if isinstance(default, bool) else VIEWS.get(default, default))
    for parameter, more in list(ours.items())[len(theirs) :]:
        assert more.default is not inspect.Parameter.empty, f"{name}({parameter}=) must be given, in ours alone"


def test_parameters_listed_as_unsupported_are_mlflows() -> None:
    import mlflow

    for name, parameter in not_taken():
        assert parameter in inspect.signature(getattr(mlflow, name)).parameters


@pytest.mark.parametrize("module", ["artifacts", "exceptions"])
def test_modules_have_the_functions_of_mlflow_s(module: str) -> None:
    import mlflow

    ours, theirs = getattr(mltrack, module), getattr(mlflow, module)
    wanted = {
        name: thing
        for name, thing in vars(theirs).items()
        if inspect.isfunction(thing) and not name.startswith("_") and thing.__module__ == theirs.__name__
    }
    if module == "exceptions":
        wanted = {"MlflowException": theirs.MlflowException}
    for name, thing in wanted.items():
        if name in ("get_error_code",):
            continue
        assert hasattr(ours, name), f"{module}.{name}"
        if inspect.isfunction(thing):
            assert list(inspect.signature(getattr(ours, name)).parameters) == list(inspect.signature(thing).parameters)


def test_an_image_has_the_methods_of_mlflow_s() -> None:
    import mlflow

    public = [name for name in vars(mlflow.Image) if not name.startswith("_")]
    assert [name for name in public if not hasattr(mltrack.Image, name)] == []
    assert hasattr(mltrack.Image([[1]]), "size")


@pytest.mark.slow
def test_mlflows_own_objects_are_imported_at_first_use() -> None:
    code = """
import sys
import mltrack, mltrack.tracking, mltrack.exceptions, mltrack.data, mltrack.artifacts
mltrack.MlflowException, mltrack.ActiveRun, mltrack.set_tracking_uri
assert "mlflow" not in sys.modules
assert callable(mltrack.data.from_numpy)
assert mltrack.MlflowClient is mltrack.tracking.MlflowClient is mltrack.client.MlflowClient
assert mltrack.exceptions.MlflowException is mltrack.MltrackError is mltrack.MlflowException
assert not hasattr(mltrack.data, "nothing")
assert "mlflow" in sys.modules
"""
    run_python(code)


def test_the_client_is_mlflows_on_the_current_store(tmp_path: Path) -> None:
    mltrack.set_store(tmp_path / "a store")
    client: Any = mltrack.MlflowClient()
    assert client.tracking_uri == mltrack.get_tracking_uri() == f"mltrack://{tmp_path}/a%20store"
    with mltrack.start_run() as run:
        mltrack.log_metric("a", 1.0)
        client.log_metric(run.run_id, "b", 2.0)
    assert client.get_run(run.run_id).data.metrics == {"a": 1.0, "b": 2.0} == dict(run.data.metrics)
