"""Pages wrap at 100 columns: all but tables, code, and words that can't be broken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

COLUMNS = 100
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def overlong(text: str) -> Iterator[str]:
    """Lines of prose that are longer than the pages are wide."""
    in_code = False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            in_code = not in_code
        elif len(line) > COLUMNS and not in_code and not line.startswith("|") and " " in line.strip():
            yield line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_prose_wraps_at_100_columns(page: Path) -> None:
    assert list(overlong(page.read_text(encoding="utf-8"))) == []


def test_long_prose_is_found_and_tables_code_and_urls_are_not() -> None:
    long = "word " * 30
    table, code, url = f"| {long} |", f"```sh\n{long}\n```", "https://example.org/" + "a" * 100
    assert list(overlong("\n".join([table, code, url, long, "short"]))) == [long]
