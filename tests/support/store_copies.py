"""Stores copied in one pass, and compared."""

from __future__ import annotations

from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.storage.check.check import check_store
from mltrack.store import Store
from mltrack_sync.selection import Selection
from mltrack_sync.stores.copying import CopyOptions, CopyReport, copy_units
from mltrack_sync.stores.local_source import LocalSource
from mltrack_sync.stores.local_target import LocalTarget


def copy(source: Store, target: Store, options: CopyOptions | None = None, *, fs: FileSystem = LOCAL) -> CopyReport:
    """One pass, as each is now."""
    here = LocalSource(source)
    return copy_units(here, LocalTarget(target, fs=fs), here.units(Selection()), options)


def assert_same_runs(first: Store, second: Store) -> None:
    """Both have the same runs with the same content, and nothing is wrong with them."""
    assert first.run_ids() == second.run_ids()
    for run_id in first.run_ids():
        one, other = first.run(run_id), second.run(run_id)
        assert one.state.info().status == other.state.info().status
        assert one.params == other.params
        assert one.tags == other.tags
        assert one.metrics().equals(other.metrics())
        assert one.artifacts == other.artifacts
        for artifact in one.artifacts:
            assert one.artifact_path(artifact.path).read_bytes() == other.artifact_path(artifact.path).read_bytes()
    for store in (first, second):
        assert [str(finding) for finding in check_store(store.path).findings] == []
