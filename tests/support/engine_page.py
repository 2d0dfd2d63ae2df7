"""The examples of docs/lake/engines.md, and a lake for them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import mltrack
from mltrack.store import Store
from mltrack_sync import Remotes, push
from tests.support import ROOT

PAGE = ROOT / "docs" / "lake" / "engines.md"


def make_small_lake(folder: Path) -> Path:
    """A lake with three runs of ten points of two metrics each."""
    mltrack.set_store(folder / "store")
    for number in range(3):
        with mltrack.start_run(run_name=f"run {number}") as run:
            for step in range(10):
                run.log({"loss": 1 / (step + 1 + number), "acc": step / 10}, step)
    mltrack.set_store(None)
    store = Store.open(folder / "store")
    push(store, Remotes(store).add("lake", f"delta:{folder / 'lake'}"))
    return folder / "lake"


def code_of(title: str, lake: str) -> str:
    """The example of a section, for this lake."""
    section = PAGE.read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return str(code).replace("LAKE", lake)


def run_section(title: str, lake: str) -> dict[str, Any]:
    """The names that the example of a section defines."""
    names: dict[str, Any] = {}
    exec(code_of(title, lake), names)
    return names
