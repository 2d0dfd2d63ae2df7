"""The README as package indexes show it: no link in it leads nowhere."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType
from typing import Any

import pytest

from tests.support import ROOT

RELATIVE = re.compile(r"\]\((?![a-z]+:|#)")


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    pytest.importorskip("hatchling", reason="the hook is a class of its")
    spec = importlib.util.spec_from_file_location("long_description", ROOT / ".ci" / "long_description.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def described(hook: ModuleType, **metadata: Any) -> str:
    hook.LongDescription(str(ROOT), {}).update(metadata)
    text: str = metadata["readme"]["text"]
    return text


def test_links_are_absolute_where_the_address_of_the_sources_is_known(hook: ModuleType) -> None:
    text = described(hook, urls={"Source": "https://example.org/mltrack/"})
    assert "[docs/install.md](https://example.org/mltrack/blob/HEAD/docs/install.md)" in text
    assert not RELATIVE.search(text)


def test_links_are_the_names_of_files_where_it_is_not(hook: ModuleType) -> None:
    text = described(hook)
    assert "| docs/install.md |" in text and "scripts for [wandb]" not in text
    assert not RELATIVE.search(text)


@pytest.mark.slow
def test_other_links_stay_and_so_does_the_rest(hook: ModuleType) -> None:
    text = "a [b](https://example.org) [c](#d) [f](docs/f.md#g)"
    assert hook.for_index(text, "") == "a [b](https://example.org) [c](#d) f (`docs/f.md#g`)"
