"""The MLflow front of the emulated workspace."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.azure.client import AzureClient
from tests.support.azure.emulator import AzureEmulator, Contents
from tests.support.azure.emulator.identifiers import GUID


def metrics(count: int, key: str = "loss") -> list[dict[str, Any]]:
    return [{"key": key, "step": step, "timestamp": 1000 + step, "value": step / 2} for step in range(count)]


def test_a_run_has_the_names_azure_gives(azure: AzureEmulator, azure_client: AzureClient) -> None:
    info = azure_client.create_run("spirals")
    assert GUID.fullmatch(info["run_id"])
    assert GUID.fullmatch(info["experiment_id"])
    host = azure.url.removeprefix("https://")
    root = f"azureml://{host}/mlflow/v2.0{azure.scope.path}/experiments/{info['experiment_id']}"
    assert info["artifact_uri"] == f"{root}/runs/{info['run_id']}/artifacts"
    for answer in (
        azure_client.get("runs/get", run_id=info["run_id"]),
        azure_client.post("runs/search", experiment_ids=[info["experiment_id"]]),
    ):
        fields = answer.json()
        found = fields["run"] if "run" in fields else fields["runs"][0]
        assert found["info"]["artifact_uri"] == info["artifact_uri"]
    updated = azure_client.post("runs/update", run_id=info["run_id"], status="FINISHED", end_time=5).json()
    assert updated["run_info"]["artifact_uri"] == info["artifact_uri"]


def test_what_was_logged_is_on_the_server_behind(azure_client: AzureClient, azure_contents: Contents) -> None:
    info = azure_client.create_run("spirals", tags=[{"key": "mltrack.run_id", "value": "a"}])
    params = [{"key": "lr", "value": "0.1"}]
    azure_client.post("runs/log-batch", run_id=info["run_id"], metrics=metrics(3), params=params).raise_for_status()
    run = azure_contents.runs("spirals")["a"]
    assert run["info"]["run_id"] == info["run_id"]
    assert run["data"]["params"] == params
    assert list(azure_contents.history(info["run_id"], "loss")) == [(0, 1000, 0.0), (1, 1001, 0.5), (2, 1002, 1.0)]
    assert azure_client.get("metrics/get-history", run_id=info["run_id"], metric_key="loss", max_results=2).json()[
        "next_page_token"
    ]


def test_workspaces_on_one_server_do_not_see_each_other(
    azure: AzureEmulator, azure_client: AzureClient, azure_backend: Any
) -> None:
    azure_client.create_run("spirals")
    azure_client.post("registered-models/create", name="m").raise_for_status()
    other = AzureEmulator(azure_backend.url, azure.certificate)
    stranger = AzureClient(other)
    try:
        assert "experiments" not in stranger.post("experiments/search", max_results=10).json()
        assert "registered_models" not in stranger.get("registered-models/search").json()
        assert stranger.get("experiments/get-by-name", experiment_name="spirals").status_code == 404
        mine = azure_client.get("experiments/get-by-name", experiment_name="spirals").json()["experiment"]
        assert mine["name"] == "spirals"
        assert stranger.get("experiments/get", experiment_id=mine["experiment_id"]).status_code == 404
        stranger.create_run("spirals")
    finally:
        stranger.close()
        other.close()


def test_a_batch_over_a_limit_is_refused_whole(azure: AzureEmulator, azure_client: AzureClient) -> None:
    run_id = azure_client.create_run("spirals")["run_id"]
    many = [{"key": f"k{number}", "value": "v"} for number in range(101)]
    for refused in (
        azure_client.post("runs/log-batch", run_id=run_id, metrics=metrics(201)),
        azure_client.post("runs/log-batch", run_id=run_id, params=many, metrics=metrics(1)),
        azure_client.post("runs/log-batch", run_id=run_id, tags=many[:51]),
        azure_client.post("runs/set-tag", run_id=run_id, key="k" * 101, value="v"),
        azure_client.post("runs/set-tag", run_id=run_id, key="k", value="v" * 1001),
        azure_client.post("runs/log-batch", run_id=run_id, metrics=[metrics(1, f"m{n}")[0] for n in range(51)]),
        azure_client.get("metrics/get-history", run_id=run_id, metric_key="loss", max_results=1000),
        azure_client.post("experiments/create", name="e" * 257),
    ):
        assert refused.status_code == 400
        assert refused.json()["Error"]["Code"] in ("ValidationError", "UserError")
        assert refused.json()["statusCode"] == 400
    assert azure_client.get("runs/get", run_id=run_id).json()["run"]["data"].keys() <= {"tags"}
    azure_client.post("runs/log-batch", run_id=run_id, metrics=metrics(200)).raise_for_status()


def test_limits_of_a_run_count_what_it_already_has(azure: AzureEmulator, azure_client: AzureClient) -> None:
    run_id = azure_client.create_run("spirals")["run_id"]
    azure.limits = replace(azure.limits, run_params_max=2, metric_rows_max=3)
    azure_client.post("runs/log-batch", run_id=run_id, params=[{"key": "a", "value": "1"}]).raise_for_status()
    azure_client.post("runs/log-parameter", run_id=run_id, key="b", value="1").raise_for_status()
    azure_client.post("runs/log-parameter", run_id=run_id, key="b", value="1").raise_for_status()
    assert azure_client.post("runs/log-parameter", run_id=run_id, key="c", value="1").status_code == 400
    azure_client.post("runs/log-batch", run_id=run_id, metrics=metrics(3)).raise_for_status()
    assert azure_client.post("runs/log-metric", run_id=run_id, **metrics(1)[0]).status_code == 400


@pytest.mark.parametrize(
    ("call", "fields"),
    [
        ("runs/search", {"order_by": ["metrics.loss DESC"]}),
        ("runs/search", {"filter": "tags.`a` != 'b'"}),
        ("runs/search", {"filter": "metrics.`a b` > 1"}),
        ("experiments/update", {"new_name": "other"}),
        ("registered-models/rename", {"name": "a", "new_name": "b"}),
        ("registered-models/create", {"name": "-a"}),
        ("registered-models/create", {"name": "a b"}),
    ],
)
def test_what_azure_does_not_support_is_refused(azure_client: AzureClient, call: str, fields: dict[str, Any]) -> None:
    assert azure_client.post(call, **fields).status_code == 400


def test_a_tag_of_ours_can_be_searched(azure_client: AzureClient) -> None:
    info = azure_client.create_run("spirals", tags=[{"key": "mltrack.run_id", "value": "a"}])
    asked = {"experiment_ids": [info["experiment_id"]], "filter": "tags.`mltrack.run_id` = 'a'"}
    assert azure_client.post("runs/search", **asked).json()["runs"][0]["info"]["run_id"] == info["run_id"]


def test_logged_models_and_the_third_api_do_not_exist(azure: AzureEmulator, azure_client: AzureClient) -> None:
    absent = azure_client.post("logged-models", experiment_id="1")
    assert (absent.status_code, absent.content) == (404, b"")
    base = f"{azure.url}/mlflow/v2.0{azure.scope.path}/api/3.0/mlflow/traces"
    assert azure_client.http.post(base, json={}, headers=azure_client.authorization).status_code == 404


def test_an_experiment_with_a_slash_is_created_but_not_found_by_name(azure_client: AzureClient) -> None:
    azure_client.create_run("team/spirals")
    assert azure_client.get("experiments/get-by-name", experiment_name="team/spirals").status_code == 404
    again = azure_client.post("experiments/create", name="team/spirals")
    assert (again.status_code, again.json()["error_code"]) == (400, "RESOURCE_ALREADY_EXISTS")
    assert azure_client.post("experiments/search", max_results=5).json()["experiments"][0]["name"] == "team/spirals"


def test_a_model_version_is_pending_for_the_configured_time(
    azure: AzureEmulator, azure_client: AzureClient, azure_contents: Contents
) -> None:
    info = azure_client.create_run("spirals")
    azure.front.pending_gets = 2
    azure_client.post("registered-models/create", name="net").raise_for_status()
    assert azure_client.post("registered-models/create", name="net").json()["error_code"] == "RESOURCE_ALREADY_EXISTS"
    source = info["artifact_uri"] + "/model"
    made = azure_client.post("model-versions/create", name="net", source=source, run_id=info["run_id"]).json()[
        "model_version"
    ]
    assert (made["status"], made["run_id"], made["name"]) == ("PENDING_REGISTRATION", info["run_id"], "net")
    seen = [
        azure_client.get("model-versions/get", name="net", version="1").json()["model_version"]["status"] for _ in "123"
    ]
    assert seen == ["PENDING_REGISTRATION", "PENDING_REGISTRATION", "READY"]
    found = azure_client.get("model-versions/search", filter=f"run_id = '{info['run_id']}'").json()["model_versions"]
    assert [version["source"] for version in found] == [source]
    assert [version["run_id"] for version in azure_contents.models()["net"]] == [info["run_id"]]


def test_duplicated_points_are_reported(azure: AzureEmulator, azure_client: AzureClient) -> None:
    run_id = azure_client.create_run("spirals")["run_id"]
    azure_client.post("runs/log-batch", run_id=run_id, metrics=metrics(2)).raise_for_status()
    assert azure.points_twice() == []
    azure_client.post("runs/log-batch", run_id=run_id, metrics=metrics(1)).raise_for_status()
    assert azure.points_twice() == [(run_id, "loss", 0, 1000, "0.0")]


def test_a_bare_nan_is_not_json(azure_client: AzureClient) -> None:
    run_id = azure_client.create_run("spirals")["run_id"]
    body = f'{{"run_id": "{run_id}", "metrics": [{{"key": "a", "value": NaN, "timestamp": 1}}]}}'
    refused = azure_client.http.post(
        azure_client._mlflow("runs/log-batch"), content=body, headers=azure_client.authorization
    )
    assert refused.status_code == 400
    nan = [{"key": "a", "value": "NaN", "timestamp": 1, "step": 0}]
    azure_client.post("runs/log-batch", run_id=run_id, metrics=nan).raise_for_status()
