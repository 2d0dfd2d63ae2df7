"""Names of environment variables and tags stand in one module, and in the docs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import mltrack.environment
from mltrack.environment import TAGS, VARIABLES
from tests.support import ROOT

FOLDERS = ("src/mltrack", "sync/mltrack_sync")
VARIABLE = re.compile(r"(?<![A-Z_])MLTRACK_[A-Z_]+")


def spelled() -> Iterator[tuple[Path, int, str]]:
    """All texts in the code but those of the module itself."""
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            if path.name in ("environment.py", "moved.py"):  # the latter holds paths of modules
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield path, node.lineno, node.value


def test_no_other_module_spells_a_variable_or_tag() -> None:
    found = [
        f"{path}:{line}: {text}" for path, line, text in spelled() if VARIABLE.fullmatch(text) or text in set(TAGS)
    ]
    assert found == []


def test_every_variable_named_in_a_text_exists() -> None:
    named = {name.rstrip("_") for _, _, text in spelled() for name in VARIABLE.findall(text)}
    assert named <= set(VARIABLES)


def test_the_page_lists_every_variable_and_tag_and_no_other_variable() -> None:
    page = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")
    assert [name for name in (*VARIABLES, *TAGS) if f"`{name}`" not in page] == []
    assert set(VARIABLE.findall(page)) == set(VARIABLES)


OTHERS = re.compile(r"MLFLOW_(?!EXPERIMENT$|LIMITS$)[A-Z_]+")
READING = {"get", "pop", "setdefault", "getenv"}


def read_by_name() -> Iterator[str]:
    """Names of variables that the code takes from an environment, and all of MLflow's in it."""
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                match node:
                    case ast.Constant(value=str() as text) if OTHERS.fullmatch(text):
                        yield text
                    case ast.Call(ast.Attribute(owner, verb), [ast.Constant(value=str() as text), *_]) if (
                        verb in READING and is_environment(owner)
                    ):
                        yield text
                    case ast.Subscript(owner, ast.Constant(value=str() as text)) if is_environment(owner):
                        yield text
                    case ast.Compare(ast.Constant(value=str() as text), [ast.In() | ast.NotIn()], [owner]) if (
                        is_environment(owner)
                    ):
                        yield text


def is_environment(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name.strip("_") in ("environ", "environment")


def test_the_page_lists_every_variable_of_others_that_is_read() -> None:
    page = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")
    found = set(read_by_name())
    assert {"MLFLOW_TRACKING_URI", "NO_COLOR", "SUDO_UID"} <= found
    prefixes = tuple(re.findall(r"`([A-Z_]+)\.\.\.`", page))
    left = found - {"PATH"}
    assert sorted(name for name in left if f"`{name}`" not in page and not name.startswith(prefixes)) == []


def test_every_variable_has_a_meaning_and_a_default() -> None:
    page = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| `MLTRACK_")]
    assert [row for row in rows if len(row) != 4 or not row[1].strip() or not row[2].strip()] == []
    assert {name for row in rows for name in VARIABLE.findall(row[0])} == set(VARIABLES)


def test_each_name_is_listed_once_and_its_constant_matches_it() -> None:
    names = set(mltrack.environment.__all__) - {"END_TAGS", "TAGS", "VARIABLES"}
    values = [getattr(mltrack.environment, name) for name in sorted(names)]
    assert sorted(values) == sorted([*VARIABLES, *TAGS])
    assert len(set(values)) == len(values)
    assert {name for name in names if name.startswith("MLTRACK_")} == set(VARIABLES)
