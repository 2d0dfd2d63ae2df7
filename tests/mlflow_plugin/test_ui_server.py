"""The environment of the server that `mltrack ui` starts: what it serves, and who may reach it."""

from __future__ import annotations

import importlib
import socket

import pytest

from mltrack.mlflow_plugin.scoring_server import ALLOWED_NAMES
from mltrack.mlflow_plugin.ui_server import scoring_environment, ui_command, ui_environment

URI = "mltrack:///data/.mltrack"


def test_the_workers_variables_are_those_of_the_installed_mlflow() -> None:
    constants = importlib.import_module("mlflow.server.constants")
    environment = ui_environment(URI, "127.0.0.1", 5000, given={})
    assert environment[constants.BACKEND_STORE_URI_ENV_VAR] == URI
    assert environment[constants.REGISTRY_STORE_URI_ENV_VAR] == URI
    assert environment[constants.ARTIFACTS_DESTINATION_ENV_VAR] == URI
    assert environment[constants.ARTIFACT_ROOT_ENV_VAR] == "mlflow-artifacts:/"
    assert environment[constants.SERVE_ARTIFACTS_ENV_VAR] == "true"


def test_variables_of_mlflow_reach_the_server_except_those_that_say_what_it_serves() -> None:
    given = {
        "MLFLOW_SERVER_X_FRAME_OPTIONS": "NONE",
        "MLFLOW_S3_ENDPOINT_URL": "http://s3.example",
        "MLFLOW_BACKEND_STORE_URI": "sqlite:///other.db",
        "MLFLOW_TRACKING_URI": "http://elsewhere.example",
        "MLFLOW_STATIC_PREFIX": "/deep",
        "MLFLOW_ENABLE_WORKSPACES": "true",
        "_MLFLOW_SERVER_FILE_STORE": "sqlite:///other.db",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    kept = ui_environment(URI, "localhost", 5000, given=given)
    assert kept["MLFLOW_SERVER_X_FRAME_OPTIONS"] == "NONE"
    assert kept["MLFLOW_S3_ENDPOINT_URL"] == "http://s3.example"
    assert kept["MLFLOW_TRACKING_URI"] == kept["_MLFLOW_SERVER_FILE_STORE"] == URI
    # its jobs need an SQL store: MLflow says that where one is asked for, and not that this variable is to be set
    assert kept["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "true"
    assert not {"MLFLOW_BACKEND_STORE_URI", "MLFLOW_STATIC_PREFIX", "MLFLOW_ENABLE_WORKSPACES"} & set(kept)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_on_loopback_the_hosts_are_mlflows_own_default(host: str) -> None:
    environment = ui_environment(URI, host, 5000, given={})
    assert "MLFLOW_SERVER_ALLOWED_HOSTS" not in environment
    assert "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS" not in environment


def test_on_an_address_the_server_answers_to_it_and_to_this_machines_names() -> None:
    environment = ui_environment(URI, "192.0.2.7", 5000, given={})
    hosts = environment["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    origins = environment["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"].split(",")
    assert {"192.0.2.7:5000", f"{socket.gethostname()}:5000", "localhost:5000"} <= set(hosts)
    assert {"http://192.0.2.7:5000", f"http://{socket.gethostname()}:5000"} <= set(origins)
    assert "*" not in hosts + origins


def test_any_host_does_not_mean_changes_from_any_page() -> None:
    environment = ui_environment(URI, "0.0.0.0", 5000, allowed_hosts="*", given={})
    assert environment["MLFLOW_SERVER_ALLOWED_HOSTS"] == "*"
    assert "*" not in environment["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"].split(",")


def test_names_of_the_option_go_before_those_of_the_variable() -> None:
    given = {
        "MLFLOW_SERVER_ALLOWED_HOSTS": "a.example",
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": "https://page.example",
    }
    of_variable = ui_environment(URI, "localhost", 5000, given=given)
    of_option = ui_environment(URI, "localhost", 5000, allowed_hosts="b.example", given=given)
    assert of_variable["MLFLOW_SERVER_ALLOWED_HOSTS"].startswith("a.example,a.example:5000,localhost")
    assert of_option["MLFLOW_SERVER_ALLOWED_HOSTS"].startswith("b.example,b.example:5000")
    assert of_option["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"].startswith("https://page.example,")


def test_an_address_of_version_six_is_bound_in_brackets() -> None:
    assert "[::]:5000" in ui_command("::", 5000, 2)
    assert "127.0.0.1:5000" in ui_command("127.0.0.1", 5000, 2)


def test_a_scoring_server_answers_to_names_of_this_machine_or_to_those_given() -> None:
    def names(host: str, given: dict[str, str], allowed: str | None = None) -> list[str]:
        return scoring_environment(URI, host, 5001, allowed_hosts=allowed, given=given)[ALLOWED_NAMES].split(",")

    assert names("127.0.0.1", {})[:2] == ["localhost", "localhost:5001"]
    assert f"{socket.gethostname()}:5001" in names("0.0.0.0", {})
    assert "model.example:5001" in names("127.0.0.1", {}, "model.example")
    assert "a.example" in names("127.0.0.1", {"MLFLOW_SERVER_ALLOWED_HOSTS": "a.example"})
    assert names("0.0.0.0", {}, "*") == ["*"]
