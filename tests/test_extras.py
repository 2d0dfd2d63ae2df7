"""Extras: what needs one that is not installed says which; all else works without, from the dependencies alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import mltrack
import mltrack_sync
from mltrack.errors import MissingPackageError
from mltrack.extras import need

Python = Callable[..., subprocess.CompletedProcess[str]]


def requirements(name: str, extra: str) -> Iterator[tuple[str, str]]:
    """The distributions that one needs here, and the extras of each."""
    for line in distribution(name).requires or []:
        needed = Requirement(line)
        if needed.marker is None or needed.marker.evaluate({"extra": extra}):
            yield from ((needed.name, also) for also in ["", *needed.extras])


def dependencies() -> set[str]:
    """The distributions that mltrack brings without any extra."""
    todo, seen = [("mltrack-local", "")], set()
    while todo:
        if (one := todo.pop()) not in seen:
            seen.add(one)
            todo += requirements(*one)
    return {name for name, _ in seen} - {"mltrack-local"}


@pytest.fixture(scope="module")
def base_python(tmp_path_factory: pytest.TempPathFactory) -> Python:
    """Python with mltrack and its dependencies, and none of the other packages that tests need."""
    folder = tmp_path_factory.mktemp("base")
    packages = folder / "packages"
    packages.mkdir()
    for module in (mltrack, mltrack_sync):
        (packages / module.__name__).symlink_to(module.__path__[0])
    for name in {*dependencies(), "mltrack-local"}:
        one = distribution(name)
        for top in {file.parts[0] for file in one.files or [] if file.parts[0] not in ("..", "__pycache__")}:
            if not (packages / top).exists() and not top.endswith(".pth"):
                (packages / top).symlink_to(str(one.locate_file(top)))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)

    def run(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [str(folder / "venv" / "bin" / "python"), *words]
        given = {**os.environ, "PYTHONPATH": str(packages), **environment}
        return subprocess.run(command, cwd=cwd, env=given, capture_output=True, text=True, timeout=200)

    return run


def test_an_installed_package_is_not_reported_missing() -> None:
    need("pytest", "this test")
    need("wsgiref.util", "this test")


def test_a_missing_package_is_named_with_what_to_do() -> None:
    with pytest.raises(MissingPackageError) as caught:
        need("no_such_package", "a chart", instead="or read on")
    assert str(caught.value) == "a chart needs no_such_package, which is not installed"
    assert caught.value.hint == "pip install mltrack-local, or read on"
    assert not isinstance(caught.value, ImportError)  # recording would count it as a loss


NEEDS = {
    "mltrack.log_image([[0, 255]], 'i.png')": "mltrack-local[images]",
    "mltrack.log({'i': mltrack.Image([[0, 255]])})": "mltrack-local[images]",
    "mltrack.search_runs()": "mltrack-local[pandas]",
    "mltrack.Store.open().search_runs_frame()": "mltrack-local[pandas]",
    "mltrack.load_table('t.json')": "mltrack-local[pandas]",
    "mltrack.Table({'a': [1]}).to_pandas()": "mltrack-local[pandas]",
    "mltrack.log_table({'a': [1]}, 't.parquet')": "mltrack-local[pandas]",
    "mltrack.log_table({'a': {'b': 1}}, 't.json')": "mltrack-local[pandas]",
    "mltrack.MlflowClient()": "mltrack-local[mlflow]",
    "mltrack.data.from_numpy": "mltrack-local[mlflow]",
}


def test_a_call_that_needs_an_extra_names_it_and_the_run_continues(base_python: Python, tmp_path: Path) -> None:
    program = f"""
import mltrack
with mltrack.start_run():
    for call in {list(NEEDS)!r}:
        try:
            eval(call)
        except mltrack.MissingPackageError as error:
            print(error.hint)
    mltrack.log_metric("loss", 0.5)
print(mltrack.search_runs(output_format="list")[0].data.metrics)
"""
    done = base_python("-c", program, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    *hints, metrics = done.stdout.splitlines()
    assert [re.findall(r"mltrack-local\[[a-z]+.", hint)[0] for hint in hints] == list(NEEDS.values())
    assert metrics == "{'loss': 0.5}"
    assert done.stderr == ""


TABLES = """
import datetime, decimal, json, sys
import mltrack, numpy as np

when = datetime.datetime(2020, 1, 2, 3, 4, 5, 678)
columns = [
    {}, {"a": []}, {"a": [1, 2], "b": "x"}, {"a": 1, "b": "x"}, {"a": [1, None], "b": [None, None]},
    {"a": [1, 2.5], "b": [True, None]}, {"a": [1, float("nan")], "b": ["x", None]}, {"a": [2**70, None]},
    {"a": (1, 2), "b": range(2)}, {"a": np.arange(2), "b": np.array([0.1, np.nan], np.float32)},
    {"a": [np.int64(1), np.float32(0.5)]}, {"a": [[1, 2], {"k": (3,)}]}, {1: [1], "b": [b"x"]},
    {"a": [when, when], "b": [when.date(), None]}, {"a": [decimal.Decimal("1.50"), decimal.Decimal(2)]},
    {"a": [datetime.timedelta(days=-1, seconds=3725, microseconds=1500), datetime.timedelta(0)]},
    {"a": np.array(["2020-01-01T00:00:00.5", "NaT"], "M8[ms]")},
]
rows = [
    ([{"a": 1, "b": "x"}, {"a": 2.5, "c": None}], None), ([[1, "x"], [2, "y"]], ["a", "b"]),
    (np.eye(2), ["a", "b"]), ([], ["a"]), ([{"a": 1}, {"a": 2}], ["a"]),
]
with mltrack.start_run() as run:
    for number, data in enumerate(columns):
        run.log_table(data, f"{number}.json")
        run.log_table(data, f"{number}.json")
    for data, names in rows:
        table = mltrack.Table(data, names)
        print(json.dumps([table.columns, table.rows]))
    for bad in ({"a": [1, 2], "b": [1]}, [1], "x"):
        try:
            run.log_table(bad, "bad.json")
        except mltrack.MltrackError as error:
            print(type(error).__name__)
for number in range(len(columns)):
    print(mltrack.artifacts.load_text(f"runs:/{run.run_id}/{number}.json"))
print("pandas" in sys.modules, file=sys.stderr)
"""


def test_tables_of_plain_values_are_the_same_with_pandas_and_without(base_python: Python, tmp_path: Path) -> None:
    without = base_python("-c", TABLES, cwd=tmp_path)
    assert (without.returncode, without.stderr) == (0, "False\n"), without.stderr
    command = [sys.executable, "-W", "ignore", "-c", TABLES]
    with_pandas = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert with_pandas.stderr == "True\n"
    assert without.stdout.splitlines() == with_pandas.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "what", "package", "extra"),
    [
        ("ui", "mltrack ui", "mlflow", "mlflow"),
        ("serve models:/m/1", "mltrack serve", "mlflow", "mlflow"),
        ("demo", "the demo's server", "mlflow", "mlflow"),
        ("mcp", "mltrack mcp", "mcp", "mcp"),
        ("top", "mltrack top", "textual", "tui"),
    ],
)
def test_a_command_that_needs_an_extra_names_it_in_one_line(
    base_python: Python, tmp_path: Path, words: str, what: str, package: str, extra: str
) -> None:
    done = base_python("-m", "mltrack", *words.split(), cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    said, hint = done.stderr.splitlines()
    assert said == f"error: {what} needs {package}, which is not installed"
    assert hint.startswith(f"hint: pip install 'mltrack-local[{extra}]'")
    assert not list(tmp_path.iterdir())  # the demo trains nothing first


@pytest.mark.slow
def test_a_report_needs_an_extra_only_as_an_image_and_a_screen_only_to_stay(
    base_python: Python, tmp_path: Path
) -> None:
    program = "import mltrack\nwith mltrack.start_run(run_name='a'): mltrack.log_metric('loss', 0.5)"
    assert base_python("-c", program, cwd=tmp_path).returncode == 0
    assert "● a  0.5" in base_python("-m", "mltrack", "top", "--once", cwd=tmp_path).stdout
    done = base_python("-m", "mltrack", "report", "a", "-o", "a.png", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: a report as an image needs matplotlib, which is not installed",
        "hint: pip install 'mltrack-local[report]', or write .html or .md",
    ]
    for name in ("a.html", "a.md"):
        done = base_python("-m", "mltrack", "report", "a", "-o", name, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert (tmp_path / name).stat().st_size > 100


def test_without_any_dependency_the_command_line_says_what_it_needs(base_python: Python, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for module in (mltrack, mltrack_sync):
        (bare / module.__name__).symlink_to(module.__path__[0])
    done = base_python("-m", "mltrack", "ls", cwd=tmp_path, PYTHONPATH=str(bare))
    assert done.returncode == 1
    assert done.stderr == (
        "error: the command line needs click, which is not installed\nhint: pip install mltrack-local\n"
    )


@pytest.mark.slow
def test_without_lightning_the_package_of_today_is_named(base_python: Python, tmp_path: Path) -> None:
    said = base_python("-c", "import mltrack.integrations.lightning", cwd=tmp_path)
    assert said.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'lightning'"
