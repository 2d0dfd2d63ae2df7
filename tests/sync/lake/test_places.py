"""Which URLs name lakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mltrack.errors import UsageError
from mltrack.store import Store
from mltrack.text.redaction import hide
from mltrack_sync import Remotes
from mltrack_sync.lake.blobs import BlobChangedError, blob_path
from mltrack_sync.lake.places import LakePlace, is_lake_url
from mltrack_sync.remotes.kind import kind_of


@pytest.mark.parametrize(
    ("text", "url", "uri"),
    [
        ("delta:/mnt/lake/", "delta:/mnt/lake", "/mnt/lake"),
        ("delta:///mnt/lake", "delta:/mnt/lake", "/mnt/lake"),
        ("s3://bucket/a/b/", "s3://bucket/a/b", "s3://bucket/a/b"),
        ("s3a://bucket", "s3://bucket", "s3://bucket"),
        ("gs://bucket//x", "gs://bucket/x", "gs://bucket/x"),
        ("abfss://c@acc.dfs.core.windows.net/p", "abfss://c@acc.dfs.core.windows.net/p", None),
    ],
)
def test_urls_of_lakes(text: str, url: str, uri: str | None) -> None:
    assert is_lake_url(text)
    assert kind_of(text).name == "lake"
    place = LakePlace.parse(text)
    assert place.url == url
    assert place.uri == (uri or url)
    assert LakePlace.parse(url) == place


@pytest.mark.parametrize(
    "text",
    [
        "delta:",
        "delta://host/x",
        "s3://",
        "s3://key:secret@bucket/x",
        "s3://bucket/x?token=1",
        "s3://b/../c",
        "gs:///x",
    ],
)
def test_others_are_refused_and_no_secret_is_shown(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        LakePlace.parse(text)
    assert "secret" not in str(caught.value)
    assert "token" not in str(caught.value)


def test_the_container_of_azure_s_storage_is_not_a_secret(tmp_path: Path) -> None:
    url = "abfss://lab-1@acc.dfs.core.windows.net/p"
    assert hide(f"pushed to {url}") == f"pushed to {url}"
    assert "word" not in hide("abfss://user:password@acc.dfs.core.windows.net/p")
    store = Store.create(tmp_path / "store")
    Remotes(store).add("lake", url)
    found = Remotes(store).get("lake")
    assert (found.url, found.refusal) == (url, None)


@pytest.mark.parametrize("text", ["https://host/x", "azureml:w", "/path", "deltas", "http://s3/x"])
def test_other_urls_are_of_other_kinds(text: str) -> None:
    assert not is_lake_url(text)


@pytest.mark.parametrize("text", ["../../etc/passwd", "A" * 64, "", "ab"])
def test_a_row_can_not_name_a_file_outside_the_contents(text: str) -> None:
    with pytest.raises(BlobChangedError, match="is not a SHA-256"):
        blob_path(text)
