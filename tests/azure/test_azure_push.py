"""A store pushed to an Azure ML workspace: equal contents, once, whatever tokens and endpoints do."""

from __future__ import annotations

from pathlib import Path

import pytest
from azure_store import record, scope_url
from both_sides import assert_equal
from emulator import AzureEmulator, Contents

from mltrack.reading import Store
from mltrack_sync import Remote, push


def test_a_store_is_pushed_and_both_sides_are_equal(
    azure_store: Store, azure_remote: Remote, azure_contents: Contents, experiment: str
) -> None:
    record()
    record(20, "second")
    report = push(azure_store, azure_remote)
    assert report.complete, report
    assert_equal(azure_store, azure_contents, experiment)
    again = push(azure_store, azure_remote)
    assert (again.runs, again.points, again.requests) == (0, 0, 0)
