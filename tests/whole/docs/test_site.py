"""The documentation builds as a site without a warning, and its reference has every public name once."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import mltrack
import mltrack.wandb as wandb
import mltrack_sync
from tests.support import ROOT


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", ".mkdocs.yml", "-d", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "site" / "reference" / "record" / "index.html").read_text(encoding="utf-8")
    assert 'id="mltrack.start_run"' in page
    assert "resume this run: any number of processes" in page, "the text of the docstring is on the page"


def test_the_reference_has_every_public_name_once() -> None:
    texts = [page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").glob("*.md")]
    listed = Counter(name for text in texts for name in re.findall(r"^::: ([\w.]+)$", text, re.M))
    wanted = {f"{package}.{name}" for package, name, _ in public_names()} - {"mltrack_sync.Lake"}  # mltrack.Lake
    assert Counter({name: n for name, n in listed.items() if not name.startswith("mltrack.notebook.")}) == Counter(
        wanted
    )


def test_every_public_name_says_what_it_means() -> None:
    silent = [f"{package}.{name}" for package, name, text in public_names() if len(text.split()) < WORDS_MIN]
    assert silent == []


WORDS_MIN = 3


def public_names() -> Iterator[tuple[str, str, str]]:
    """Package, name and documentation of all that is public. Loggers of libraries are read, not imported."""
    for package in (mltrack, mltrack_sync, wandb):
        for name in package.__all__:
            yield package.__name__, name, documentation(package, name)
    for path in sorted((ROOT / "src" / "mltrack" / "integrations").glob("*.py")):
        if path.stem not in NOT_LOGGERS:
            for name, text in declared(ast.parse(path.read_text(encoding="utf-8"))):
                yield f"mltrack.integrations.{path.stem}", name, text


NOT_LOGGERS = {"__init__", "autolog", "run_holder", "texts"}
"""Modules that mltrack uses itself; ``autolog`` is ``mltrack.autolog``."""


def documentation(package: ModuleType, name: str) -> str:
    """The docstring of a thing, its own if it is a class; that of a value stands below it in the source."""
    thing = getattr(package, name)
    if inspect.isclass(thing) or inspect.ismodule(thing) or callable(thing):
        return thing.__doc__ or ""
    (text,) = re.findall(rf'^{name} = .*\n"""(.*)"""$', inspect.getsource(package), re.M)
    return str(text)


def declared(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """What a module lists in ``__all__`` and makes itself, with its docstrings."""
    made = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    for node in tree.body:
        match node:
            case ast.Assign([ast.Name("__all__")], value):
                for name in ast.literal_eval(value):
                    if name in made:
                        yield name, ast.get_docstring(made[name]) or ""
