"""The wheel as it is installed: alone, where it still records, and with its dependencies, which need no extra."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from mltrack.demo.server import mlflow_server
from mltrack.store import Store
from tests.support import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

NOT_IN_BASE = {"mlflow", "mlflow-skinny", "pandas", "pillow", "matplotlib", "scikit-learn", "scipy", "sqlalchemy"}

Run = Callable[..., subprocess.CompletedProcess[str]]


def pip(*words: str | Path) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)
    return next(folder.glob("mltrack_local-*.whl"))


def installed(folder: Path, *words: str | Path) -> Run:
    """What runs programs of a new virtual environment, after ``pip install WORDS``."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip("--python", folder / "bin" / "python", "install", "--quiet", *words)

    def run(program: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        command = [str(folder / "bin" / program), *words]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)

    return run


RECORD = """
import threading, time
import mltrack

mltrack.set_experiment("installed")
with mltrack.start_run(run_name="bare", tags={"who": "me"}) as run:
    mltrack.log_params({"lr": 0.1, "layers": 3})
    for step in range(3):
        mltrack.log_metric("loss", 1 / (1 + step), step=step)
    mltrack.log_metrics({"a": 1, "b": float("inf")}, step=7)
    run.log({"note": mltrack.Text("hello"), "c": 2, "table": mltrack.Table([[1, 2]], columns=["a", "b"])})
    mltrack.log_table({"a": [1, 2]}, "t.json")
    run.log_series("series", [i / 7 for i in range(5000)], steps=range(0, 10000, 2))
    threads = [threading.Thread(target=run.log_metric, args=("threads", i)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mltrack.set_tag("team", "blue")
    mltrack.log_text("text", "notes/t.txt")
    mltrack.log_dict({"k": [1, 2]}, "d.json")
    with open("file.bin", "wb") as file:
        file.write(b"123")
    mltrack.log_artifact("file.bin")
    mltrack.log_input(mltrack.Dataset("data", "abc", "local", "{}"), context="training")
    run.register_model("model", "file.bin")
    with mltrack.start_run(run_name="inner", nested=True):
        mltrack.log_metric("loss", 2)
with mltrack.start_run(run_id=run.run_id):
    mltrack.log_metric("loss", 9, step=3)
print(run.run_id)
"""


def check_recorded(path: Path, run_id: str) -> None:
    store = Store.open(path)
    run = store.run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"lr": "0.1", "layers": "3"}
    assert (run.data.tags["who"], run.data.tags["team"]) == ("me", "blue")
    assert run.metrics("loss")["value"].to_pylist() == [1, 1 / 2, 1 / 3, 9]
    assert run.metrics("b")["value"].to_pylist() == [float("inf")]
    series = run.metrics("series")
    assert series["value"].to_pylist() == [i / 7 for i in range(5000)]
    assert series["step"].to_pylist() == list(range(0, 10000, 2))
    assert sorted(run.metrics("threads")["value"].to_pylist()) == list(range(8))
    names = {artifact.path for artifact in run.artifacts if not artifact.path.startswith("series/")}
    assert names == {"notes/t.txt", "d.json", "t.json", "file.bin"}
    assert store.registry.get_version("model", "1").run_id == run_id
    assert [found.info.run_name for found in store.search_runs() if found.info.parent_run_id == run_id] == ["inner"]
    check = [sys.executable, "-m", "mltrack", "check", "--store", str(path)]
    assert subprocess.run(check, capture_output=True).returncode == 0


def test_without_any_dependency_it_records(wheel: Path, tmp_path: Path) -> None:
    run = installed(tmp_path / "bare", "--no-deps", wheel)
    done = run("python", "-c", RECORD, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    said = done.stderr.splitlines()
    assert len(said) == 2, said
    assert "log_series stores point by point" in said[0]
    assert "seal them with: mltrack seal" in said[1]
    check_recorded(tmp_path / ".mltrack", done.stdout.strip())
    command = run("mltrack", "ls", cwd=tmp_path)
    assert command.returncode == 1
    assert command.stderr.endswith("hint: pip install mltrack-local\n")


def test_the_dependencies_record_query_and_sync_without_an_extra(wheel: Path, tmp_path: Path) -> None:
    run = installed(tmp_path / "base", wheel)
    site = next((tmp_path / "base" / "lib").glob("python3*")) / "site-packages"
    names = {re.split(r"-\d", folder.name)[0].lower().replace("_", "-") for folder in site.glob("*.dist-info")}
    assert not names & NOT_IN_BASE
    assert len(names) < 40
    size = sum(os.lstat(Path(here, name)).st_blocks * 512 for here, _, files in os.walk(site) for name in files)
    print(f"the base is {len(names)} packages, {size / 1e6:.0f} MB")

    done = run("python", "-c", RECORD, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    check_recorded(tmp_path / ".mltrack", done.stdout.strip())
    cloud = "import mltrack; mltrack.set_experiment('cloud')\nwith mltrack.start_run(): mltrack.log_text('x', 'x.txt')"
    assert run("python", "-c", cloud, cwd=tmp_path).returncode == 0

    def command(*words: str, code: int = 0) -> str:
        done = run("mltrack", *words, cwd=tmp_path)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    assert "bare" in command("ls")
    assert "layers" in command("show", "bare")
    assert "0.333" in command("metrics", "bare", "loss")
    assert "5000" in command("sql", "select count(*) from metrics where key = 'series'")
    with mlflow_server(tmp_path / "server") as url:
        place = {"name": "cloud", "artifact_location": "s3://no-such-bucket/x"}
        httpx.post(f"{url}/api/2.0/mlflow/experiments/create", json=place, trust_env=False).raise_for_status()
        command("remote", "add", "lab", url)
        command("sync", "lab", "--experiment", "installed")
        command("verify", "lab", "--run", "bare")
        command("gc", "lab", "--synced", "--run", "bare", "--keep-metrics", "--yes")
        assert "pip install 'mltrack-local[mlflow]'" in command("sync", "lab", code=3)  # the files of the other one
    assert "pip install 'mltrack-local[mlflow]'" in command("ui", code=1)
