"""The documentation builds as a site without a warning, and its reference has every public name once."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import mltrack
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
    pages = (ROOT / "docs" / "reference").glob("*.md")
    listed = Counter(name for page in pages for name in re.findall(r"^::: mltrack\.(\w+)$", page.read_text(), re.M))
    assert listed == Counter(mltrack.__all__)
