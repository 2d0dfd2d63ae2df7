"""Resource manager, identity endpoint and tokens of the emulated workspace."""

from __future__ import annotations

import base64
import json
import ssl
from urllib.parse import parse_qs

import httpx
import pytest

from tests.support.azure.client import AzureClient
from tests.support.azure.emulator import AzureEmulator


def ask_manager(azure: AzureEmulator, client: AzureClient) -> dict[str, str]:
    url = f"{azure.url}{azure.scope.path}"
    answer = client.http.get(url, params={"api-version": "2024-04-01"}, headers=client.authorization)
    properties: dict[str, str] = answer.raise_for_status().json()["properties"]
    return properties


def ask_token(azure: AzureEmulator, **headers: str) -> httpx.Response:
    environ = azure.environ()
    query = {"api-version": "2019-08-01", "resource": "https://management.azure.com"}
    return httpx.get(environ["IDENTITY_ENDPOINT"], params=query, headers=headers, trust_env=False)


def test_the_resource_manager_gives_the_url_of_the_front(azure: AzureEmulator, azure_client: AzureClient) -> None:
    properties = ask_manager(azure, azure_client)
    assert properties["mlFlowTrackingUri"] == azure.tracking_uri
    assert properties["discoveryUrl"] == f"{azure.url}/discovery"
    azure.manager.host = "guid.workspace.westeurope.api.azureml.ms"
    assert azure.manager.host in ask_manager(azure, azure_client)["mlFlowTrackingUri"]
    azure.manager.tracking_uri_missing = True
    assert "mlFlowTrackingUri" not in ask_manager(azure, azure_client)


def test_the_resource_manager_knows_one_workspace(azure: AzureEmulator, azure_client: AzureClient) -> None:
    path = azure.scope.path
    asked = {"params": {"api-version": "2024-04-01"}, "headers": azure_client.authorization}
    assert azure_client.http.get(f"{azure.url}{path.upper()}", **asked).status_code == 200  # type: ignore[arg-type]
    missing = azure_client.http.get(f"{azure.url}{path}x", **asked)  # type: ignore[arg-type]
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "ResourceNotFound")
    assert azure_client.http.get(f"{azure.url}{path}", headers=azure_client.authorization).status_code == 400
    assert azure_client.http.get(f"{azure.url}{path}", params=asked["params"]).status_code == 401


def test_the_identity_endpoint_wants_its_header(azure: AzureEmulator) -> None:
    assert ask_token(azure).status_code == 401
    fields = ask_token(azure, **{"X-IDENTITY-HEADER": azure.identity.header}).json()
    assert fields["token_type"] == "Bearer"
    claims = json.loads(base64.urlsafe_b64decode(fields["access_token"].split(".")[1] + "=="))
    assert claims["exp"] == int(fields["expires_on"])
    azure.tokens.jwt = False
    assert "." not in ask_token(azure, **{"X-IDENTITY-HEADER": azure.identity.header}).json()["access_token"]


def test_a_token_ends_by_time_by_use_and_by_revocation(azure: AzureEmulator, azure_client: AzureClient) -> None:
    assert azure_client.post("experiments/search", max_results=1).status_code == 200
    azure_client.token = azure.tokens.issue(life_s=0).text
    refused = azure_client.post("experiments/search", max_results=1)
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "ExpiredAuthenticationToken")
    azure.tokens.uses_max = 2
    azure_client.token = azure.tokens.issue().text
    assert [azure_client.post("experiments/search", max_results=1).status_code for _ in "123"] == [200, 200, 401]
    azure.tokens.uses_max = None
    azure_client.token = azure.tokens.issue().text
    azure.tokens.revoke()
    assert azure_client.post("experiments/search", max_results=1).status_code == 401
    azure_client.token = "made-up"
    assert azure_client.post("experiments/search", max_results=1).status_code == 401


@pytest.mark.parametrize("by", ["experiments", "experimentids"])
def test_the_token_of_a_run_is_renewed_but_not_valid_for_the_resource_manager(
    azure: AzureEmulator, azure_client: AzureClient, by: str
) -> None:
    job = azure.job_environ("e", "r")
    azure_client.token = job["MLFLOW_TRACKING_TOKEN"]
    url = f"{azure.url}/history/v1.0{azure.scope.path}/{by}/e/runs/r/token"
    renewed = azure_client.http.get(url, headers=azure_client.authorization).json()
    assert renewed["expiryTimeUtc"].endswith("Z")
    azure_client.token = renewed["token"]
    assert azure_client.post("experiments/search", max_results=1).status_code == 200
    refused = azure_client.http.get(f"{azure.url}{azure.scope.path}?api-version=1", headers=azure_client.authorization)
    assert refused.status_code == 401


def test_an_old_uri_carries_its_own_token(azure: AzureEmulator, azure_client: AzureClient) -> None:
    uri, _, query = azure.tracking_uri_with_token().partition("?")
    assert uri == azure.tracking_uri
    azure_client.token = parse_qs(query)["auth"][0]
    assert azure_client.post("experiments/search", max_results=1).status_code == 200


def test_secrets_in_wrong_places_are_found(azure: AzureEmulator, azure_client: AzureClient) -> None:
    info = azure_client.create_run("spirals")
    url = azure_client.make_artifacts(info, "a")["artifactContentInformation"]["a"]["contentUri"]
    assert azure.secrets_in("nothing", b"here") == []
    assert azure.secrets_in(f"x{azure_client.token}y", url)[0] == azure_client.token
    assert len(azure.secrets_in(url)) == 1


def test_the_certificate_is_checked(azure: AzureEmulator, azure_client: AzureClient) -> None:
    with httpx.Client(verify=ssl.create_default_context(), trust_env=False) as http, pytest.raises(httpx.ConnectError):
        http.get(azure.url)
    azure.traffic.clear()
    assert azure_client.http.get(f"{azure.plain_url}/nothing").status_code == 404
    assert azure.traffic.kinds() == {"unknown": 1}
