"""A registry that went on after it was imported: what is new in it comes, and what was changed here stands."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from mltrack.importers.compare import compare_source
from mltrack.importers.engine import import_source
from mltrack.store import Store
from tests.support.sources import unpack


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    return unpack("mlflow-3.17.2-sqlite", tmp_path / "source")


@pytest.fixture
def store(tmp_path: Path, source: Path) -> Store:
    store = Store.create(tmp_path / "store")
    import_source(store, source)
    return store


def change(source: Path, *statements: tuple[str, tuple[Any, ...]]) -> None:
    with contextlib.closing(sqlite3.connect(source)) as con:
        for statement, values in statements:
            con.execute(statement, values)
        con.commit()


def unstaged(store: Store) -> tuple[str, int]:
    """A version that has no stage."""
    version = next(each for each in store.registry.versions() if each.stage == "None")
    return version.name, version.version


def later(name: str, number: int) -> list[tuple[str, tuple[Any, ...]]]:
    """A tag, a stage and an alias that a version gets."""
    return [
        ("INSERT INTO model_version_tags (key, value, name, version) VALUES ('late', 'yes', ?, ?)", (name, number)),
        ("UPDATE model_versions SET current_stage = 'Staging' WHERE name = ? AND version = ?", (name, number)),
        ("INSERT INTO registered_model_aliases (alias, version, name) VALUES ('later', ?, ?)", (number, name)),
        ("INSERT INTO registered_model_tags (key, value, name) VALUES ('late', 'too', ?)", (name,)),
    ]


def test_tags_a_stage_and_aliases_that_come_later_are_taken(source: Path, store: Store) -> None:
    name, number = unstaged(store)
    change(source, *later(name, number))
    assert not compare_source(store, source).same
    import_source(store, source)
    version = store.registry.get_version(name, number)
    assert (version.tags["late"], version.stage) == ("yes", "Staging")
    assert store.registry.get_model(name).aliases["later"] == number
    assert store.registry.get_model(name).tags["late"] == "too"
    assert compare_source(store, source).same


def test_what_was_set_here_stands(source: Path, store: Store) -> None:
    name, number = unstaged(store)
    store.registry.set_version_tag(name, number, "late", "mine")
    store.registry.set_stage(name, number, "Production")
    change(source, *later(name, number))
    import_source(store, source)
    version = store.registry.get_version(name, number)
    assert (version.tags["late"], version.stage) == ("mine", "Production")
