"""A small store to look at, and the command line as a function."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mltrack.cli import main
from mltrack.recording import current_store, fluent
from mltrack.store import Store


class Said(NamedTuple):
    """What a command line answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Said]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Three ended runs of the experiment "spirals", and the working folder beside them."""
    where = [str(Path(path).absolute()) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(where))  # it may be relative, and the working folder changes
    monkeypatch.chdir(tmp_path)
    current_store.set_store(tmp_path / ".mltrack")
    current_store.set_experiment("spirals")
    for number in (1, 2, 3):
        with fluent.start_run(run_name=f"spirals-{number}", tags={"team": "red"}) as run:
            run.log_params({"lr": 0.1 if number < 3 else 0.2, "layers": number})
            for step in range(20):
                run.log_metric("loss", 1 / (step + number), step)
            run.log_metric("accuracy", number / 4)
            run.log_text("hello", "notes/hello.txt")
            run.log_text("step 1\nstep 2\n", "user_logs/std_log.txt")
            if number == 3:
                run.log_dict({"files": {}}, "code/files.json")
                run.log_dict({"command": ["true"], "command_line": "true"}, "environment/launch.json")
    (tmp_path / "train.py").write_text("print('trained')", encoding="utf-8")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    current_store.set_store(None)
    return Store.open(tmp_path / ".mltrack")


@pytest.fixture
def cli(store: Store, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs one command line on the store."""

    def run(*args: str) -> Said:
        capsys.readouterr()
        code = main(["--store", str(store.path), *args])
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run


@pytest.fixture
def store_with_damage(store: Store) -> str:
    """The path, relative to the store, of an events file with a bad line."""
    path = sorted(store.run("spirals-2").folder.events.iterdir())[0]
    data = bytearray(path.read_bytes())
    data[data.index(b'"key":"lr"') + 8] ^= 1
    path.write_bytes(data)
    return str(path.relative_to(store.path))
