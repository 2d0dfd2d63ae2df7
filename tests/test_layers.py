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
    ["mltrack.printable", "mltrack.redaction"],
    ["mltrack.errors"],
    [
        "mltrack.format",
        "mltrack.fs",
        "mltrack.entities",
        "mltrack.exit_code",
        "mltrack.folder_events",
        "mltrack.headroom",
        "mltrack.data",
        "mltrack.exceptions",
        "mltrack.local_server",
        "mltrack.mlflow_names",
        "mltrack.mounts",
        "mltrack.names",
        "mltrack.operations",
        "mltrack.printing",
        "mltrack.process_end",
        "mltrack.trouble",
        "mltrack.records",
        "mltrack.schema",
        "mltrack.shutdown",
        "mltrack.values",
    ],
    ["mltrack.remotes_file", "mltrack.trust"],
    [
        "mltrack.jsonlog",
        "mltrack.flusher",
        "mltrack.series",
        "mltrack.media",
        "mltrack.artifact_files",
        "mltrack.inputs",
    ],
    ["mltrack.tables", "mltrack.rich_values", "mltrack.rich_series"],
    ["mltrack.journal", "mltrack.segment", "mltrack.segment_shape", "mltrack.written_points"],
    ["mltrack.store", "mltrack.recorder", "mltrack.live"],
    ["mltrack.query"],
    ["mltrack.reading", "mltrack.export"],
    [
        "mltrack.run",
        "mltrack.run_files",
        "mltrack.run_handles",
        "mltrack.run_inputs",
        "mltrack.known_info",
        "mltrack.preload",
        "mltrack.used_stores",
        "mltrack.watching",
        "mltrack.system_metrics",
        "mltrack.system_metrics_settings",
    ],
    ["mltrack.active"],
    [
        "mltrack.artifacts",
        "mltrack.client",
        "mltrack.experiments",
        "mltrack.fluent",
        "mltrack.log_functions",
        "mltrack.lookup",
        "mltrack.other_runs",
        "mltrack.tracking",
        "mltrack.tracking_uri",
    ],
    ["mltrack.launch"],
    ["mltrack"],
    ["mltrack_sync"],
    ["mltrack.demo", "mltrack.cli", "mltrack.mlflow_plugin", "mltrack.__main__"],
]
GC_NEEDS = {"mltrack.store.check", "mltrack.store.edit", "mltrack.store.fold"}  # it alone changes a store
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
    allowed = {"mltrack", "mltrack.errors", "mltrack.entities", "mltrack.fs", "mltrack.jsonlog", "mltrack.reading"}
    allowed |= {"mltrack.printable", "mltrack.printing", "mltrack.redaction", "mltrack.trust", "mltrack.remotes_file"}
    allowed |= {"mltrack.live", "mltrack.store.stored_run", "mltrack.store.layout", "mltrack.segment", "mltrack.schema"}
    for module, path in modules():
        if module.startswith("mltrack_sync") and not module.startswith("mltrack_sync.command"):
            for name, line in imports(path):
                mine = allowed | (GC_NEEDS if module == "mltrack_sync.gc" else set())
                assert name in mine or name.startswith("mltrack_sync"), f"{path}:{line}: {name}"


def test_only_the_file_system_syncs_renames_and_locks() -> None:
    for module, path in modules():
        if module in ("mltrack.fs", "mltrack.store.liveness"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                called = f"{node.value.id}.{node.attr}"
                assert called not in ("os.fsync", "os.rename", "os.replace", "fcntl.flock", "os.ftruncate"), (
                    f"{path}:{node.lineno}: {called}"
                )
