"""The notebook, cell by cell in a real kernel: read while it goes on, cells run again, nothing left behind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from mltrack import Store
from mltrack.storage.runs.stored_run import StoredRun
from tests.support.pages import FOLDER

pytestmark = pytest.mark.slow

formats: Any = nbformat  # it has no types


class Notebook:
    """The notebook, open in a kernel of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.book = formats.read(FOLDER / "notebook.ipynb", as_version=4)
        self.client = NotebookClient(self.book, resources={"metadata": {"path": str(folder)}}, timeout=200)
        self.code = [at for at, cell in enumerate(self.book.cells) if cell.cell_type == "code"]

    def run(self, containing: str) -> list[Any]:
        """Run the first cell that has these words in it; its outputs."""
        at = next(at for at in self.code if containing in self.book.cells[at].source)
        return list(self.client.execute_cell(self.book.cells[at], at).outputs)

    def type(self, source: str) -> None:
        """Run code that is not in it."""
        self.book.cells.append(formats.v4.new_code_cell(source))
        self.client.execute_cell(self.book.cells[-1], len(self.book.cells) - 1)

    def shut_down(self) -> None:
        """As Jupyter does it; the kernel ends by itself."""
        process = self.process
        run_sync(self._kernel.shutdown_kernel)()
        assert not process.is_running()

    def runs(self) -> dict[str, list[StoredRun]]:
        """The runs of its store by name, oldest first."""
        found: dict[str, list[StoredRun]] = {}
        for run in sorted(Store.open(self.folder / ".mltrack").runs(), key=lambda run: run.info.start_time):
            found.setdefault(run.info.run_name, []).append(run)
        return found

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self._kernel.provisioner.process.pid)

    @property
    def _kernel(self) -> Any:
        return self.client.km


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    notebook = Notebook(tmp_path)
    with notebook.client.setup_kernel():
        yield notebook


def test_the_notebook_runs_and_its_runs_are_read_meanwhile(notebook: Notebook) -> None:
    for at in notebook.code:
        if "log_figure" in notebook.book.cells[at].source:
            (run,) = notebook.runs()["open"]
            assert run.info.status == "RUNNING"
            assert len(run.metrics("loss")) == 50
        notebook.client.execute_cell(notebook.book.cells[at], at)
    shown = [
        kind
        for at in notebook.code
        for output in notebook.book.cells[at].outputs
        for kind in output.get("data", {})
        if kind != "text/plain"
    ]
    assert shown.count("image/png") == 2
    assert shown.count("text/html") == 2  # the last points, and the table of runs
    runs = notebook.runs()
    assert sorted(runs) == ["lr-0.05", "lr-0.2", "lr-0.4", "open"]
    assert {run.info.status for same in runs.values() for run in same} == {"FINISHED"}
    (html,) = [output["data"]["text/html"] for output in notebook.run("search_runs_frame")]
    assert html.index("lr-0.4") < html.index("lr-0.2") < html.index("lr-0.05")
    assert notebook.process.children(recursive=True) == []


def test_cells_run_again_continue_the_run_or_start_another_as_they_say(notebook: Notebook) -> None:
    notebook.run("set_experiment")
    notebook.run("start_run(run_name=")
    for _ in range(3):
        notebook.run("run.log(")
    (first,) = notebook.runs()["open"]
    assert first.metrics("loss").column("step").to_pylist() == list(range(150))
    notebook.run("start_run(run_name=")
    notebook.run("run.log(")
    first, second = notebook.runs()["open"]
    assert (first.info.status, second.info.status) == ("KILLED", "RUNNING")
    assert len(second.metrics("loss")) == 50
    with pytest.raises(CellExecutionError, match="is active already"):
        notebook.type("mltrack.start_run()")


@pytest.mark.parametrize(("last", "status"), [("1 + 1", "FINISHED"), ("1 / 0", "FAILED")])
def test_a_run_left_open_ends_with_the_kernel_like_its_last_cell(notebook: Notebook, last: str, status: str) -> None:
    notebook.run("set_experiment")
    notebook.run("start_run(run_name=")
    notebook.run("run.log(")
    for source in ("no_such_name", last):
        with contextlib.suppress(CellExecutionError):
            notebook.type(source)
    notebook.shut_down()
    (run,) = notebook.runs()["open"]
    assert (run.info.status, run.info.crashed, len(run.metrics("loss"))) == (status, False, 50)


def test_a_kernel_that_is_killed_leaves_a_crashed_run_with_all_its_points(notebook: Notebook) -> None:
    notebook.run("set_experiment")
    notebook.run("start_run(run_name=")
    notebook.run("run.log(")
    notebook.process.kill()
    notebook.process.wait()
    (run,) = notebook.runs()["open"]
    assert (run.info.status, run.info.crashed, len(run.metrics("loss"))) == ("FAILED", True, 50)
