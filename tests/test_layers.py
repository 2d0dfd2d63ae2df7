"""Folders are layers: a module imports only what stands before its folder in ``LAYERS``, lazily and for types too."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.support import ROOT

SOURCES = {"mltrack": ROOT / "src" / "mltrack", "mltrack_sync": ROOT / "sync" / "mltrack_sync"}

# The one statement of the order, from the bottom up. Folders and modules of one row know nothing of one another;
# modules of one folder may import one another, without a circle. ARCHITECTURE.md shows this list.
LAYERS = [
    ["mltrack.moved", "mltrack.text"],
    ["mltrack.environment", "mltrack.errors"],
    ["mltrack.extras"],
    ["mltrack.data", "mltrack.drawing", "mltrack.entities", "mltrack.exceptions", "mltrack.process"],
    ["mltrack.disk"],
    ["mltrack.values"],
    ["mltrack.notebook"],
    ["mltrack.journal"],
    [
        "mltrack.storage.experiments",
        "mltrack.storage.models",
        "mltrack.storage.registry",
        "mltrack.storage.runs",
        "mltrack.storage.source_contents",
        "mltrack.storage.traces",
    ],
    ["mltrack.storage.check"],
    ["mltrack.catalog", "mltrack.diff"],
    ["mltrack.store"],
    ["mltrack.guards"],
    ["mltrack.importers", "mltrack.mlflow_plugin", "mltrack.recording"],
    ["mltrack.artifacts", "mltrack.client", "mltrack.demo", "mltrack.integrations", "mltrack.launch", "mltrack.wandb"],
    ["mltrack.report", "mltrack.top", "mltrack.tracking"],
    [
        "mltrack_sync.errors",
        "mltrack_sync.limits",
        "mltrack_sync.progress",
        "mltrack_sync.selection",
    ],
    ["mltrack_sync.report", "mltrack_sync.secret_values"],
    ["mltrack_sync.http"],
    ["mltrack_sync.ledger"],
    ["mltrack_sync.remotes"],
    ["mltrack_sync.stores"],
    ["mltrack_sync.lake"],
    ["mltrack_sync.mlflow.api"],
    ["mltrack_sync.mlflow.provider"],
    ["mltrack_sync.mlflow.plan"],
    ["mltrack_sync.mlflow.files"],
    ["mltrack_sync.mlflow.cycle", "mltrack_sync.mlflow.workers"],
    ["mltrack_sync.mlflow.pull", "mltrack_sync.mlflow.push", "mltrack_sync.mlflow.verify"],
    ["mltrack_sync.mlflow.kind"],
    ["mltrack_sync.azureml"],
    ["mltrack_sync.engine"],
    ["mltrack_sync.daemon", "mltrack_sync.gc"],
    ["mltrack_sync.status"],
    ["mltrack_sync.mcp"],
    ["mltrack_sync.cli"],
    ["mltrack.cli"],
    ["mltrack.__main__"],
]
FACADES = {"mltrack", "mltrack_sync"}
"""The packages themselves name what users import from every room; nothing else is in them."""


def modules(sources: Mapping[str, Path]) -> dict[str, Path]:
    """The modules of the packages, by their dotted names."""
    found = {}
    for package, folder in sources.items():
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return found


def imports(path: Path, known: Mapping[str, Path]) -> Iterator[tuple[str, int]]:
    """Modules of ours that a file imports anywhere, and the lines."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names]
            names = [name if name in known else module for name in names]
        else:
            continue
        for name in dict.fromkeys(names):
            if name in known:
                yield name, node.lineno


def layer_of(module: str, row_of: Mapping[str, int]) -> str:
    """The longest name in the list that ``module`` is or lies in."""
    while module and module not in row_of:
        module = module.rpartition(".")[0]
    return module


def violations(sources: Mapping[str, Path], layers: Sequence[Sequence[str]]) -> list[str]:
    """Modules in no row, imports that go up or to a neighbour, and circles."""
    known = modules(sources)
    row_of = {layer: row for row, layers_of_row in enumerate(layers) for layer in layers_of_row}
    found = []
    graph: dict[str, set[str]] = {}
    for module, path in sorted(known.items()):
        here = layer_of(module, row_of)
        if module in FACADES:
            continue
        if not here:
            if path.name != "__init__.py":
                found.append(f"{module} is in no row of the list")
            continue
        graph[module] = set()
        for name, line in imports(path, known):
            there = layer_of(name, row_of)
            if name in FACADES or name == module:
                continue
            graph[module].add(name)
            if there != here and row_of.get(there, -1) >= row_of[here]:
                found.append(f"{path}:{line}: {here} must not import {name}")
    return found + [f"a circle: {' -> '.join(circle)}" for circle in circles(graph)]


def circles(graph: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """Modules that import one another: one circle for each group of such."""
    left = {module: set(names) & graph.keys() for module, names in graph.items()}
    while leaves := {module for module, names in left.items() if not names}:
        left = {module: names - leaves for module, names in left.items() if module not in leaves}
    while left:  # each of these leads to a circle
        at, seen = min(left), list[str]()
        while at not in seen:
            seen.append(at)
            at = min(left[at])
        circle = seen[seen.index(at) :]
        yield circle
        gone = set(circle)
        left = {module: names - gone for module, names in left.items() if module not in gone}
        while leaves := {module for module, names in left.items() if not names}:
            left = {module: names - leaves for module, names in left.items() if module not in leaves}


def test_imports_go_down_only_and_in_no_circle() -> None:
    assert violations(SOURCES, LAYERS) == []


def test_every_layer_of_the_list_exists() -> None:
    known = modules(SOURCES)
    assert [layer for row in LAYERS for layer in row if layer not in known] == []


def plant(folder: Path, **texts: str) -> Mapping[str, Path]:
    """A package with modules of these texts; ``low__a`` is ``low/a.py``."""
    for name, text in texts.items():
        path = folder / "planted" / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return {"planted": folder / "planted"}


PLANTED = [["planted.low"], ["planted.left", "planted.right"]]


def test_an_import_upward_is_found_lazy_or_for_types(tmp_path: Path) -> None:
    lazy = "def f():\n    from planted.left import a\n"
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import planted.right.a\n"
    sources = plant(tmp_path, low__a=lazy, low__b=typed, left__a="", right__a="")
    found = violations(sources, PLANTED)
    assert [line.rpartition("/")[2] for line in found] == [
        "a.py:2: planted.low must not import planted.left.a",
        "b.py:3: planted.low must not import planted.right.a",
    ]


def test_an_import_from_a_neighbour_a_circle_and_a_stray_module_are_found(tmp_path: Path) -> None:
    sources = plant(
        tmp_path,
        low__a="from planted.low.b import x\n",
        low__b="def f():\n    from planted.low.a import y\n",
        left__a="from planted.right.a import z\n",
        right__a="",
        stray="",
    )
    found = violations(sources, PLANTED)
    assert [line.rpartition("/")[2] for line in found] == [
        "a.py:1: planted.left must not import planted.right.a",
        "planted.stray is in no row of the list",
        "a circle: planted.low.a -> planted.low.b",
    ]


def picture() -> str:
    """The list as ARCHITECTURE.md shows it."""
    return "\n".join("  ".join(layer.replace(".", "/") for layer in row) for row in LAYERS)


def test_the_picture_in_architecture_is_this_list() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert f"```layers\n{picture()}\n```" in text


def test_only_the_file_system_syncs_renames_and_locks() -> None:
    for module, path in modules(SOURCES).items():
        if module in ("mltrack.disk.filesystem", "mltrack.disk.liveness", "mltrack.disk.locks"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                called = f"{node.value.id}.{node.attr}"
                assert called not in ("os.fsync", "os.rename", "os.replace", "fcntl.flock", "os.ftruncate"), (
                    f"{path}:{node.lineno}: {called}"
                )
