"""Imports go down only: each part of the code may use those below it in the picture of ARCHITECTURE.md."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {"mltrack": ROOT / "src" / "mltrack", "mltrack_sync": ROOT / "sync" / "mltrack_sync"}

# from the bottom up; a module may import modules of its own row and of the rows before it
ROWS = [
    ["mltrack.text.printable", "mltrack.text.redaction"],
    ["mltrack.errors"],
    [
        "mltrack.disk.codec",
        "mltrack.disk.filesystem",
        "mltrack.entities",
        "mltrack.process.exit_code",
        "mltrack.recording.fs_events",
        "mltrack.process.headroom",
        "mltrack.data",
        "mltrack.exceptions",
        "mltrack.process.server",
        "mltrack.recording.mlflow_names",
        "mltrack.disk.mounts",
        "mltrack.values.run_names",
        "mltrack.recording.operations",
        "mltrack.text.printing",
        "mltrack.process.ending",
        "mltrack.process.trouble",
        "mltrack.disk.fields",
        "mltrack.disk.line_types",
        "mltrack.process.shutdown",
        "mltrack.values.scalars",
    ],
    ["mltrack.disk.remotes_file", "mltrack.disk.trust"],
    [
        "mltrack.disk.jsonlog",
        "mltrack.disk.flusher",
        "mltrack.values.columns",
        "mltrack.values.media",
        "mltrack.disk.artifact_files",
        "mltrack.values.datasets",
    ],
    ["mltrack.values.tables", "mltrack.values.rich", "mltrack.journal.rich_series"],
    ["mltrack.journal.points", "mltrack.disk.segment", "mltrack.disk.segment_check", "mltrack.journal.written_points"],
    ["mltrack.store", "mltrack.journal.recorder", "mltrack.recording.background_sync"],
    ["mltrack.query"],
    ["mltrack.store", "mltrack.catalog.export"],
    [
        "mltrack.recording.run",
        "mltrack.recording.run_artifacts",
        "mltrack.recording.run_handles",
        "mltrack.recording.run_links",
        "mltrack.recording.known_info",
        "mltrack.recording.preload",
        "mltrack.recording.used_stores",
        "mltrack.recording.folder_watch",
        "mltrack.recording.system_metrics",
        "mltrack.recording.system_metrics_settings",
    ],
    ["mltrack.recording.active"],
    [
        "mltrack.artifacts",
        "mltrack.client",
        "mltrack.recording.experiment_functions",
        "mltrack.recording.fluent",
        "mltrack.recording.log_functions",
        "mltrack.recording.run_functions",
        "mltrack.recording.other_runs",
        "mltrack.tracking",
        "mltrack.recording.tracking_uri",
    ],
    ["mltrack.launch"],
    ["mltrack"],
    ["mltrack_sync"],
    ["mltrack.demo", "mltrack.cli", "mltrack.mlflow_plugin", "mltrack.__main__"],
]
GC_NEEDS = {
    "mltrack.storage.check.check",
    "mltrack.storage.runs.edit",
    "mltrack.storage.runs.state",
}  # it alone changes a store
ROW_OF = {part: row for row, parts in enumerate(ROWS) for part in parts}


def modules() -> Iterator[tuple[str, Path]]:
    for package, folder in SOURCES.items():
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            yield ".".join([package, *(part for part in parts if part != "__init__")]), path


@functools.cache
def known() -> frozenset[str]:
    return frozenset(name for name, _ in modules())


def part_of(module: str) -> str:
    """The longest name in the table that ``module`` is or lies in."""
    while module not in ROW_OF:
        module, dot, _ = module.rpartition(".")
        assert dot, "a module that is in no row of the table"
    return module


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Modules of ours that a file imports, lazily too; not those for type checkers only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            module = node.module or ""
            submodules = [f"{module}.{alias.name}" for alias in node.names]
            names = [name if name in known() else module for name in submodules]
        else:
            continue
        for name in dict.fromkeys(names):
            if name.split(".")[0] in SOURCES:
                yield name, node.lineno


@pytest.mark.parametrize(
    ("module", "path"), sorted(modules()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_imports_go_down_only(module: str, path: Path) -> None:
    here = part_of(module)
    for name, line in imports(path):
        there = part_of(name)
        assert ROW_OF[there] <= ROW_OF[here], f"{path}:{line}: {here} must not import {there}"


def test_sync_uses_only_the_public_reading_api() -> None:
    allowed = {
        "mltrack",
        "mltrack.errors",
        "mltrack.entities",
        "mltrack.disk.filesystem",
        "mltrack.disk.jsonlog",
        "mltrack.store",
    }
    allowed |= {
        "mltrack.text.printable",
        "mltrack.text.printing",
        "mltrack.text.redaction",
        "mltrack.disk.trust",
        "mltrack.disk.remotes_file",
    }
    allowed |= {
        "mltrack.recording.background_sync",
        "mltrack.storage.runs.stored_run",
        "mltrack.disk.layout",
        "mltrack.disk.segment",
        "mltrack.disk.line_types",
    }
    for module, path in modules():
        if module.startswith("mltrack_sync") and not module.startswith("mltrack_sync.command"):
            for name, line in imports(path):
                mine = allowed | (GC_NEEDS if module == "mltrack_sync.gc" else set())
                assert name in mine or name.startswith("mltrack_sync"), f"{path}:{line}: {name}"


def test_only_the_file_system_syncs_renames_and_locks() -> None:
    for module, path in modules():
        if module in ("mltrack.disk.filesystem", "mltrack.disk.liveness"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                called = f"{node.value.id}.{node.attr}"
                assert called not in ("os.fsync", "os.rename", "os.replace", "fcntl.flock", "os.ftruncate"), (
                    f"{path}:{node.lineno}: {called}"
                )
