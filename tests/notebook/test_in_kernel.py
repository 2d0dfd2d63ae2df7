"""Notebooks in a real kernel: tables, plots, and live cells while a training goes on here and in another process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

formats: Any = nbformat  # it has no types

THREADS = "print([thread.name for thread in threading.enumerate() if 'mltrack-live' in thread.name])"
HERE = f"""
import threading, time
import mltrack
with mltrack.start_run(run_name="here") as run:
    view = run.live("loss", every_s=0.05)
    for step in range(40):
        run.log({{"loss": 1 / (step + 1)}})
        time.sleep(0.01)
print(view)
{THREADS}
"""
ELSEWHERE = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", '''
import sys, mltrack
with mltrack.start_run(run_name="elsewhere") as run:
    for step in range(30):
        run.log({"loss": 1 / (step + 1)})
    print(run.run_id, flush=True)
    sys.stdin.readline()
    for step in range(30):
        run.log({"loss": 2.0})
'''], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
store = mltrack.Store.open()
watched = store.run(child.stdout.readline().strip())
view = watched.live("los.", every_s=0.05)
print(view)
child.communicate("go on")
view._thread.join(60)
print(view)
"""


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[Any]]:
    """The outputs of each cell."""
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("MLTRACK_QUIET", "1")
    cells = [HERE, ELSEWHERE, "store", "store.search_runs()", "watched", "run", "watched.plot('loss')", "store.plot()"]
    book = formats.v4.new_notebook(cells=[formats.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(book, resources={"metadata": {"path": str(tmp_path)}}, timeout=200).execute()
    return [cell.outputs for cell in book.cells]


def html_of(outputs: list[Any]) -> str:
    (html,) = [output["data"]["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    return str(html)


def text_of(outputs: list[Any]) -> str:
    return "".join(output["text"] for output in outputs if output["output_type"] == "stream")


def test_a_notebook_shows_runs_and_follows_them(outputs: list[list[Any]]) -> None:
    here, elsewhere, store, found, watched, run, plot, plots = outputs
    assert "<b>here</b> · 40 points · loss 0.025" in html_of(here)
    assert "<polyline" in html_of(here)
    assert text_of(here) == "LiveView(stopped)\n[]\n"
    assert "<b>elsewhere</b> · FINISHED · 60 points · loss 2<" in html_of(elsewhere)
    assert text_of(elsewhere) == "LiveView(live)\nLiveView(stopped)\n"
    for shown in (store, found):
        assert html_of(shown).index(">elsewhere ") < html_of(shown).index(">here ")
    assert "<svg" in html_of(watched)
    assert "<svg" in html_of(run)
    assert "<iframe" in html_of(plot)
    assert "<iframe" in html_of(plots)
