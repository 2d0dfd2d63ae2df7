"""The tests' own house: laid out as the source is, one conftest, and no test file that needs another one."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

TESTS = ROOT / "tests"
FILES = sorted(path.relative_to(TESTS).as_posix() for path in TESTS.rglob("*.py"))
FOLDERS = sorted(
    {
        folder.as_posix()
        for folder in (Path(name).parent for name in FILES if Path(name).name.startswith("test_"))
        if folder.parts and folder.parts[0] != "whole"
    }
)


def faults_of(text: str) -> Iterator[str]:
    """What a file of the tests may not do."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module or ''}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            names = []
        for name in names:
            if any(part == "conftest" or part.startswith("test_") for part in name.split(".")[:-1]):
                yield f"imports from {name}"
            elif name.startswith("tests.") and name.rpartition(".")[2].startswith("test_"):
                yield f"imports {name}"
        if "sys.path" not in text:
            continue
        changed = [node.value] if isinstance(node, ast.Attribute) else getattr(node, "targets", [])
        if any(ast.unparse(what).startswith("sys.path") for what in changed):
            yield "changes sys.path"


def test_a_test_file_imports_no_other_test_file_and_does_not_change_sys_path() -> None:
    found = {name: list(faults_of((TESTS / name).read_text(encoding="utf-8"))) for name in FILES}
    assert {name: faults for name, faults in found.items() if faults} == {}


@pytest.mark.parametrize(
    "text",
    [
        "from tests.disk.test_codec import CASES",
        "from tests.disk import test_codec",
        "import tests.disk.test_codec",
        "from .test_codec import CASES",
        "from tests.conftest import x",
        "import sys\nsys.path.insert(0, 'tests')",
        "import sys\nsys.path[:0] = ['tests']",
    ],
)
def test_a_planted_fault_is_found(text: str) -> None:
    assert len(list(faults_of(text))) == 1


def test_there_is_one_conftest_and_pytest_changes_no_path() -> None:
    assert [name for name in FILES if name.endswith("conftest.py")] == ["conftest.py"]
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    assert "pythonpath" not in settings


def source_of(folder: str) -> Path:
    first, _, rest = folder.partition("/")
    return ROOT / "sync" / "mltrack_sync" / rest if first == "sync" else ROOT / "src" / "mltrack" / folder


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_folder_of_tests_mirrors_one_of_the_source(folder: str) -> None:
    assert source_of(folder).is_dir()
