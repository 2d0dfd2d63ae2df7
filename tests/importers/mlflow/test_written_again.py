"""The sources that are kept are written again by the real MLflow, in an environment of its own, and imported."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mltrack.importers.compare import compare_source
from mltrack.importers.engine import import_source
from mltrack.store import Store
from tests.support.sources import FOLDER, VERSIONS, unpack

pytestmark = pytest.mark.peers

OLD = ["sqlalchemy<1.4", "alembic<1.5", "protobuf<3.21", "flask<2", "jinja2<3", "markupsafe<2.1", "werkzeug<2"]
OLD += ["itsdangerous<2.1", "setuptools<60"]
NEEDS: dict[str, tuple[str, list[str]]] = {
    "0.9.1": ("3.7", OLD),
    "1.0.0": ("3.8", OLD),
    "1.30.1": ("3.8", ["setuptools<60"]),
    "2.9.2": ("3.10", ["setuptools<70"]),
    "2.22.5": ("3.10", ["opentelemetry-sdk<1.35", "opentelemetry-api<1.35"]),
    "3.12.0": ("3.12", []),
    "3.17.2": ("3.12", []),
}
"""Of each version: the Python that it has, and what it does not get along with newer versions of."""


def python_with(version: str, folder: Path) -> Path:
    """The interpreter of an environment with that MLflow."""
    number, others = NEEDS[version]
    python = shutil.which(f"python{number}")
    if python is None:
        pytest.skip(f"Python {number} is not installed")
    steps = [[python, "-m", "venv", str(folder)]]
    steps.append([str(folder / "bin" / "pip"), "install", "-q", f"mlflow=={version}", *others])
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"MLflow {version} can't be installed: {done.stderr[-300:]}")
    return folder / "bin" / "python"


@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("name", VERSIONS)
def test_what_mlflow_writes_is_what_is_kept(name: str, tmp_path: Path) -> None:
    _, version, form = name.split("-")
    python = python_with(version, tmp_path / "venv")
    place = tmp_path / "golden"
    place.mkdir()
    shutil.copy(FOLDER / "write_with_mlflow.py", place)
    source = place / ("mlruns" if form == "mlruns" else "mlflow.db")
    kind = "file" if form == "mlruns" else "sqlite"
    user = {"USER": "ada", "LOGNAME": "ada", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    subprocess.run(
        [str(python), "-W", "ignore", "write_with_mlflow.py", kind, source.name], cwd=place, env=user, check=True
    )
    kept = tmp_path / "kept"
    kept.mkdir()
    stores = [Store.create(tmp_path / which) for which in ("a", "b")]
    reports = [import_source(store, path) for store, path in zip(stores, (source, unpack(name, kept)), strict=True)]
    assert reports[0].problems == ()
    assert compare_source(stores[0], source).same
    counts = [(r.runs, r.points, r.artifacts, r.models, r.model_versions, r.logged_models, r.traces) for r in reports]
    assert counts[0] == counts[1]
