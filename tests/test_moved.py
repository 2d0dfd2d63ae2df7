"""Modules are found by the paths they had before, with a warning, and cost nothing until one is asked for."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from mltrack.moved import PATHS

BARE = "import sys, __future__; old = set(sys.modules); import mltrack; print(*sorted(set(sys.modules) - old))"
SYNC_FIRST = "import mltrack_sync.passes as old; from mltrack_sync.engine.push import push; assert old.push is push"


def run(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, timeout=60)


@pytest.mark.filterwarnings("ignore:.* has moved to:DeprecationWarning")
@pytest.mark.parametrize("path", sorted(PATHS))
def test_an_old_path_has_the_objects_of_its_new_modules(path: str) -> None:
    old = importlib.import_module(path)
    for new in PATHS[path].split():
        module = importlib.import_module(new)
        for name in getattr(module, "__all__", ()):
            assert getattr(old, name) is getattr(module, name)


@pytest.mark.filterwarnings("ignore:.* has moved to:DeprecationWarning")
@pytest.mark.parametrize(
    ("path", "name", "new"),
    [
        ("mltrack.fluent", "set_store", "mltrack.recording.current_store"),
        ("mltrack.store.check", "CheckReport", "mltrack.storage.check.report"),
        ("mltrack.store.seal", "seal_dead_writers", "mltrack.storage.runs.sealing"),
        ("mltrack.store.trace_fold", "Trace", "mltrack.storage.traces.trace"),
    ],
)
def test_a_name_that_moved_to_another_module_is_found_by_its_old_path(path: str, name: str, new: str) -> None:
    assert getattr(importlib.import_module(path), name) is getattr(importlib.import_module(new), name)


def test_an_old_path_warns_where_it_is_imported_and_names_the_new_one() -> None:
    done = run("import mltrack.fs", "-W", "error::DeprecationWarning")
    assert "DeprecationWarning: mltrack.fs has moved to mltrack.disk.filesystem" in done.stderr
    done = run("from mltrack.values import check_key", "-W", "default")
    assert "<string>:1: DeprecationWarning: mltrack.values has moved to mltrack.values.scalars" in done.stderr


def test_an_old_path_imports_its_new_modules() -> None:
    code = "import sys, mltrack.query.search; print('mltrack.catalog.search' in sys.modules)"
    assert run(code, "-W", "ignore").stdout == "True\n"


def test_a_name_or_path_that_never_existed_is_missing() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'mltrack\.nothing'"):
        importlib.import_module("mltrack.nothing")
    with pytest.raises(AttributeError, match=r"module 'mltrack\.journal' has no attribute 'nothing'"):
        importlib.import_module("mltrack.journal").nothing  # noqa: B018  # the look-up is what is tested


def test_a_module_of_sync_is_found_by_its_old_path_before_any_other_import() -> None:
    assert run(SYNC_FIRST, "-W", "ignore").returncode == 0


def test_importing_mltrack_loads_no_other_module() -> None:
    assert run(BARE).stdout.split() == ["mltrack"]


def test_recording_and_reading_by_current_paths_does_not_load_the_table_of_old_ones() -> None:
    code = "import mltrack, sys; mltrack.start_run, mltrack.Store, mltrack.Table; print('mltrack.moved' in sys.modules)"
    assert run(code).stdout == "False\n"
