"""Run-history artifacts and the blob store of the emulated workspace."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest

from tests.support.azure.client import AzureClient
from tests.support.azure.emulator import AzureEmulator, Contents
from tests.support.azure.emulator.blobs import MIB
from tests.support.azure.emulator.workspace import run_container


def content_uri(client: AzureClient, info: dict[str, str], path: str) -> str:
    return str(client.make_artifacts(info, path)["artifactContentInformation"][path]["contentUri"])


def test_an_artifact_is_registered_uploaded_listed_and_read(
    azure_client: AzureClient, azure_contents: Contents
) -> None:
    info = azure_client.create_run("spirals")
    url = content_uri(azure_client, info, "a/ü b.txt")
    assert azure_contents.artifacts({"info": info}) == {"a/ü b.txt": None}
    assert azure_client.put(url, b"hello").status_code == 201
    assert azure_contents.artifact({"info": info}, "a/ü b.txt") == b"hello"
    listed = azure_client.http.get(azure_client.artifacts_url(info), headers=azure_client.authorization).json()["value"]
    assert [artifact["path"] for artifact in listed] == ["a/ü b.txt"]
    where = azure_client.http.get(
        azure_client.artifacts_url(info) + "/contentinfo",
        params={"path": "a/ü b.txt"},
        headers=azure_client.authorization,
    ).json()
    assert azure_client.http.get(where["contentUri"]).content == b"hello"
    assert azure_client.http.get(where["contentUri"], headers={"Range": "bytes=1-2"}).content == b"el"
    assert azure_client.http.head(where["contentUri"]).headers["Content-Length"] == "5"


def test_a_run_is_found_by_experiment_name_and_id(azure_client: AzureClient) -> None:
    info = azure_client.create_run("spirals")
    named = {**info, "experiment_id": "spirals"}
    assert azure_client.make_artifacts(named, "a", by="experiments")["artifacts"].keys() == {"a"}
    assert azure_client.make_artifacts(info, "b", by="experiments")["artifacts"].keys() == {"b"}
    listed = azure_client.http.get(azure_client.artifacts_url(info), headers=azure_client.authorization).json()["value"]
    assert [artifact["path"] for artifact in listed] == ["a", "b"]


def test_a_path_that_exists_is_a_conflict_and_the_others_are_created(azure_client: AzureClient) -> None:
    info = azure_client.create_run("spirals")
    azure_client.make_artifacts(info, "a")
    answer = azure_client.make_artifacts(info, "a", "b", "../c")
    assert answer["artifactContentInformation"].keys() == {"b"}
    error = answer["errors"]["a"]["error"]
    assert error["code"] == "UserError"
    assert error["message"] == f"Resource Conflict: ArtifactId ExperimentRun/dcid.{info['run_id']}/a already exists."
    assert answer["errors"]["../c"]["error"]["code"] == "UserError"


def test_long_listings_are_paged(azure: AzureEmulator, azure_client: AzureClient) -> None:
    info = azure_client.create_run("spirals")
    azure.artifacts.page_rows = 2
    azure_client.make_artifacts(info, "a", "b", "c")
    first = azure_client.http.get(azure_client.artifacts_url(info), headers=azure_client.authorization).json()
    second = azure_client.http.get(first["nextLink"], headers=azure_client.authorization).json()
    assert [artifact["path"] for artifact in first["value"] + second["value"]] == ["a", "b", "c"]
    assert "nextLink" not in second


def test_a_batch_has_a_hundred_paths_at_most(azure_client: AzureClient) -> None:
    info = azure_client.create_run("spirals")
    body = {"paths": [{"path": f"{number}"} for number in range(101)]}
    refused = azure_client.http.post(
        f"{azure_client.artifacts_url(info)}/batch/metadata", json=body, headers=azure_client.authorization
    )
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "UserError")


def test_a_blob_is_written_once(azure_client: AzureClient, azure_contents: Contents) -> None:
    info = azure_client.create_run("spirals")
    url = content_uri(azure_client, info, "a")
    azure_client.put(url, b"one")
    refused = azure_client.put(url, b"two")
    assert (refused.status_code, refused.headers["x-ms-error-code"]) == (409, "BlobAlreadyExists")
    assert b"<Code>BlobAlreadyExists</Code>" in refused.content
    assert azure_contents.artifact({"info": info}, "a") == b"one"


@pytest.mark.parametrize(("header", "value"), [("x-ms-blob-type", "PageBlob"), ("Content-MD5", "AAAA")])
def test_a_put_with_wrong_headers_is_refused(azure_client: AzureClient, header: str, value: str) -> None:
    url = content_uri(azure_client, azure_client.create_run("spirals"), "a")
    assert azure_client.put(url, b"x", **{header: value}).status_code == 400


def test_large_content_must_be_sent_in_blocks(
    azure: AzureEmulator, azure_client: AzureClient, azure_contents: Contents
) -> None:
    info = azure_client.create_run("spirals")
    url = content_uri(azure_client, info, "large")
    azure.blobs.put_bytes_max = MIB
    content = bytes(range(256)) * (5 * MIB // 256)
    assert azure_client.put(url, content).status_code == 413
    names = [base64.b64encode(f"{number:08}".encode()).decode() for number in range(5)]
    for number, name in enumerate(names):
        part = content[number * MIB : (number + 1) * MIB]
        sent = azure_client.http.put(f"{url}&comp=block&blockid={quote(name, safe='')}", content=part)
        assert sent.status_code == 201
    assert azure_client.http.get(f"{url}&comp=blocklist").text.count("<Size>1048576</Size>") == 5
    assert azure_contents.artifacts({"info": info}) == {"large": None}
    listed = "".join(f"<Latest>{name}</Latest>" for name in names)
    body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{listed}</BlockList>'
    missing = body.replace(names[0], base64.b64encode(b"nothere!").decode())
    assert azure_client.http.put(f"{url}&comp=blocklist", content=missing).status_code == 400
    headers = {"If-None-Match": "*"}
    assert azure_client.http.put(f"{url}&comp=blocklist", content=body, headers=headers).status_code == 201
    assert azure_contents.artifact({"info": info}, "large") == content
    assert [azure.traffic.count(f"blob/{kind}") for kind in ("put", "block", "block-list")] == [1, 5, 2]


def test_a_bearer_token_at_the_blob_store_is_refused_and_noted(azure: AzureEmulator, azure_client: AzureClient) -> None:
    url = content_uri(azure_client, azure_client.create_run("spirals"), "a")
    assert azure_client.put(url, b"x", **azure_client.authorization).status_code == 403
    assert len(azure.blobs.bearers_seen) == 1
    azure.blobs.bearers_seen.clear()


def test_a_signature_expires_and_is_valid_for_one_blob(azure: AzureEmulator, azure_client: AzureClient) -> None:
    info = azure_client.create_run("spirals")
    url = content_uri(azure_client, info, "a")
    assert azure_client.put(url.replace("/a?", "/b?"), b"x").status_code == 403
    azure.blobs.sas_life_s = 0
    refused = azure_client.put(content_uri(azure_client, info, "c"), b"x")
    assert (refused.status_code, refused.headers["x-ms-error-code"]) == (403, "AuthenticationFailed")


def test_a_local_upload_has_its_own_container(azure: AzureEmulator, azure_client: AzureClient) -> None:
    url = f"{azure.url}/artifact/v2.0{azure.scope.path}/artifacts/LocalUpload/day-1/batch/metadata"
    made = azure_client.http.post(
        url, json={"paths": [{"path": "m/MLmodel"}]}, headers=azure_client.authorization
    ).json()
    assert made["artifacts"]["m/MLmodel"]["artifactId"] == "LocalUpload/day-1/m/MLmodel"
    assert azure.artifacts.paths(run_container("0" * 32)) == []
