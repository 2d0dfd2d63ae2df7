"""The page on machines without a network: its commands, with an index that does not exist."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.pages import Page


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_folder_of_wheels_is_all_that_an_installation_needs(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    copied = (".ci", "src", "sync", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "ARCHITECTURE.md")
    checkout.mkdir()
    for name in copied:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, checkout / name)
    page = Page("../airgap.md", checkout)
    page.run(page.commands("pip wheel").replace("pip wheel", "python -m pip wheel --quiet"))
    inside = Page(
        "../airgap.md", tmp_path, env={"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_CONFIG_FILE": "/dev/null"}
    )
    shutil.move(checkout / "wheels", tmp_path / "wheels")
    shutil.rmtree(checkout)
    said = inside.run(inside.commands("python3 -m venv").replace("python3", "python"))
    assert "Successfully installed" in said and said.splitlines()[-1].startswith("mltrack ")
    train = "import mltrack; mltrack.log_metric('loss', 1.0)"
    subprocess.run([tmp_path / ".venv" / "bin" / "python", "-c", train], cwd=tmp_path, check=True)
    assert "no problems found: 1 run" in inside.run(inside.commands("--upgrade mltrack"))
