"""``python -m mltrack.wandb``: scripts that import wandb, unchanged, and the processes that they start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mltrack.store import Store
from mltrack.wandb.__main__ import main

TRAIN = """
import sys
import wandb
from helper import RATE

run = wandb.init(project="p", name="main", config={"args": sys.argv[1:], "rate": RATE})
run.log({"loss": 1})
print(__name__, sys.argv[0])
"""
CHILDREN = """
import multiprocessing, subprocess, sys
import wandb

def train(number):
    import wandb
    with wandb.init(project="p", name=f"child-{number}") as run:
        run.log({"loss": number})

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=train, args=(1,))
    process.start()
    process.join()
    program = "import wandb; wandb.init(project='p', name='program').log({'loss': 2})"
    subprocess.run([sys.executable, "-c", program], check=True)
    sys.exit(process.exitcode)
"""


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    held = {key: value for key, value in os.environ.items() if not key.startswith(("MLTRACK_", "WANDB_", "PYTHONPATH"))}
    environment = {**held, "MLTRACK_STORE": str(folder / "s"), "WANDB_X_DISABLE_STATS": "true"}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


def test_a_script_is_run_as_main_with_its_arguments_and_modules_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text(TRAIN)
    (tmp_path / "code" / "helper.py").write_text("RATE = 0.1")
    done = python(tmp_path, "-m", "mltrack.wandb", "code/train.py", "--epochs", "3")
    assert (done.returncode, done.stdout) == (0, "__main__ code/train.py\n"), done.stderr
    (run,) = Store.open(tmp_path / "s").runs()
    assert (run.info.run_name, run.info.status) == ("main", "FINISHED")
    assert run.params == {"args": '["--epochs", "3"]', "rate": "0.1"}
    assert run.tags["mlflow.source.name"] == "code/train.py"


def test_a_module_is_run_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "helper.py").write_text("RATE = 0.1")
    done = python(tmp_path, "-m", "mltrack.wandb", "-m", "train")
    assert done.returncode == 0, done.stderr
    assert [run.info.run_name for run in Store.open(tmp_path / "s").runs()] == ["main"]


@pytest.mark.slow
def test_processes_that_the_script_starts_record_too(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(CHILDREN)
    done = python(tmp_path, "-m", "mltrack.wandb", "train.py")
    assert done.returncode == 0, done.stderr
    names = {run.info.run_name: run.info.status for run in Store.open(tmp_path / "s").runs()}
    assert names == {"child-1": "FINISHED", "program": "FINISHED"}


def test_a_script_that_fails_fails_its_run(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("import wandb; wandb.init(project='p'); raise SystemExit(3)")
    assert python(tmp_path, "-m", "mltrack.wandb", "train.py").returncode == 3
    (run,) = Store.open(tmp_path / "s").runs()
    assert run.info.status == "FAILED"


def test_modules_inside_wandb_are_found_or_refused_with_what_to_use(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import importlib.util, wandb, wandb.plot\n"
        "from wandb.sdk.wandb_run import Run\n"
        "from wandb.errors import CommError\n"
        "from wandb.data_types import Image\n"
        "assert (Run, CommError, Image) == (wandb.Run, wandb.CommError, wandb.Image)\n"
        "assert importlib.util.find_spec('wandb') is not None\n"
        "try:\n    from wandb.integration.fastai import WandbCallback\n"
        "except ImportError as error:\n    print(error)\n"
    )
    done = python(tmp_path, "-m", "mltrack.wandb", "train.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "mltrack.wandb has no module wandb.integration.fastai: use mltrack.autolog()\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["missing.py"], "there is no script missing.py"),
        (["."], ". is a folder without a __main__.py"),
        (["-m", "nosuch"], "there is no module nosuch"),
        (["-m", "nosuch.inner"], "module nosuch.inner can't be imported"),
    ],
)
def test_what_is_not_there_is_named_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_without_a_script_it_says_how_it_is_used(tmp_path: Path) -> None:
    done = python(tmp_path, "-m", "mltrack.wandb")
    assert (done.returncode, done.stdout) == (2, "")
    assert "SCRIPT [ARGUMENTS]" in done.stderr
    assert python(tmp_path, "-m", "mltrack.wandb", "--help").stdout.startswith("usage: ")
