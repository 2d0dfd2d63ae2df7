"""The page on the environment names every variable of mltrack's own, and every tag that mltrack sets."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.support import ROOT

PAGE = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")
SOURCES = [path for folder in ("src", "sync") for path in (ROOT / folder).rglob("*.py") if path.name != "moved.py"]

NOT_TAGS = {"mltrack.commands", "mltrack.remotes", "mltrack.background"}
"""Groups of entry points, and a logger."""


def constants() -> Iterator[str]:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def is_module(name: str) -> bool:
    path = ROOT / "src" / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").exists()


def test_the_page_names_every_variable_of_our_own_and_no_other() -> None:
    read = {name for text in constants() for name in re.findall(r"\bMLTRACK_[A-Z_]+\b", text)}
    read |= {"MLTRACK_SYNC_INTERVAL", "MLTRACK_SYNC_PATIENCE"}  # put together where they are read
    assert set(re.findall(r"`(MLTRACK_[A-Z_]+)`", PAGE)) == read


def test_the_page_names_every_tag_that_is_set() -> None:
    tags = {text for text in constants() if re.fullmatch(r"mltrack(\.[a-z_]+)+", text)} - NOT_TAGS
    tags = {tag for tag in tags if not is_module(tag)}
    assert set(re.findall(r"`(mltrack\.[a-z_.]+)`", PAGE.partition("## Tags")[2])) == tags
