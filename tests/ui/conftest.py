"""The store that is looked at, MLflow's server on it, a training that writes all the while, and the browser."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mltrack.store import Store

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

    from ui.looking import Look

HERE = Path(__file__).parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SHOTS_VARIABLE = "MLTRACK_TEST_SHOTS"
"""A folder to keep the pictures in; a temporary one when it is not set."""


def _environment(**more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLTRACK_", "MLFLOW_"))}
    return {**kept, "PYTHONWARNINGS": "ignore", **more}


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's program."""
    pytest.importorskip("playwright", reason="playwright is not installed: pip install '.[browser]'")
    found = [path for name in BROWSERS if (path := shutil.which(name))]
    if not found:
        pytest.skip("there is no Chromium: apt-get install chromium")
    return found[0]


@pytest.fixture(scope="session")
def store(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with thousands of runs, a long one, models, prompts and traces."""
    path = tmp_path_factory.mktemp("looked-at") / ".mltrack"
    environment = _environment(MLFLOW_TRACKING_URI=f"mltrack://{path}", PYTHONPATH=str(HERE.parent))
    made = subprocess.run(
        [sys.executable, str(HERE / "making.py"), str(path)],
        env=environment,
        cwd=path.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert made.returncode == 0, made.stdout
    return Store.open(path)


@pytest.fixture(scope="session")
def training(store: Store) -> Iterator[str]:
    """The name of a run that is being written to until the tests end."""
    name = "live-run"
    process = subprocess.Popen(
        [sys.executable, str(HERE / "training.py"), str(store.path), name],
        env=_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "training\n"
    yield name
    process.kill()
    process.communicate()


@pytest.fixture(scope="session")
def base(store: Store, training: str) -> Iterator[str]:
    """The address of `mltrack ui`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mltrack", "--store", str(store.path), "ui", "--no-browser"],
        env=_environment(),
        cwd=store.path.parent,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        yield next(word for word in line.split() if word.startswith("http://"))
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert process.returncode == 0


@pytest.fixture(scope="session")
def context(chromium: str, base: str) -> Iterator[BrowserContext]:
    """A browser that has seen MLflow's greetings, and that reaches this machine only."""
    from playwright.sync_api import sync_playwright

    from ui.looking import BEGIN

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--headless=new"])
        context = browser.new_context(viewport={"width": 1500, "height": 900}, locale="en-US")
        context.add_init_script(BEGIN)
        yield context
        browser.close()


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pictures go."""
    folder = os.environ.get(SHOTS_VARIABLE)
    if folder is None:
        return tmp_path_factory.mktemp("shots")
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder)


@pytest.fixture
def look(context: BrowserContext, base: str, shots: Path) -> Iterator[Look]:
    """A new page; nothing may have gone wrong on it by the end of the test."""
    from ui.looking import Look

    looking = Look(context, base, shots)
    yield looking
    looking.close()
    assert looking.troubles == []


@pytest.fixture(scope="session")
def experiment(store: Store) -> dict[str, str]:
    """The id of each experiment, by name."""
    return {each.name: each.experiment_id for each in store.workspace.experiments().values()}
