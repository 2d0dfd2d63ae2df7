"""diff."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mltrack.cli.exit_codes import FAILURE
from mltrack.recording import fluent
from mltrack.store import Store
from tests.support.command_line import Cli
from tests.support.terminal import in_terminal

LONG = "a-name-that-is-longer-than-its-column"


def test_diff_shows_params_and_metrics_that_differ(cli: Cli, small_store: Store) -> None:
    said = cli("diff", "spirals-1", "spirals-3", "--json").json
    assert [(one["name"], one["a"], one["b"]) for one in said["params"]] == [("layers", "1", "3"), ("lr", "0.1", "0.2")]
    assert said["a"]["run_id"] == small_store.run("spirals-1").run_id
    loss = next(one for one in said["metrics"] if one["key"] == "loss")
    assert loss["last"]["difference"] == pytest.approx(loss["last"]["b"] - loss["last"]["a"])
    lines = cli("diff", "spirals-1", "spirals-3").out.splitlines()
    assert "layers  1          3" in lines


def test_sections_are_chosen_and_the_exit_code_goes_by_them(cli: Cli) -> None:
    assert sorted(cli("diff", "spirals-1", "spirals-3", "--only", "params", "--json").json) == [
        "a",
        "b",
        "params",
        "unknown",
    ]
    assert cli("diff", "spirals-1", "spirals-3").code == 0
    assert cli("diff", "spirals-1", "spirals-3", "--only", "params", "--exit-code").code == FAILURE
    assert cli("diff", "spirals-1", "spirals-3", "--only", "command", "--exit-code").code == 0


def test_system_metrics_are_compared_on_request(cli: Cli) -> None:
    for number in (1, 2):
        with fluent.start_run(run_name=f"measured-{number}") as run:
            run.log({"loss": 1 / number, "system/cpu_utilization_percentage": 10.0 * number})
    assert [one["key"] for one in cli("diff", "measured-1", "measured-2", "--json").json["metrics"]] == ["loss"]
    assert len(cli("diff", "measured-1", "measured-2", "--system", "--json").json["metrics"]) == 2


@pytest.fixture(scope="module")
def code_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two launches, between which a file with tabs and escape sequences changed."""
    folder = tmp_path_factory.mktemp("program")
    for name, text in (("one", "\tif true\n"), (LONG, "\tif \x1b]0;x\x07 größer\n")):
        (folder / "train.sh").write_text(text, "utf-8")
        words = ["--store", str(folder / ".mltrack"), "run", "--no-system-metrics", "--name", name, "--", "true"]
        subprocess.run([sys.executable, "-m", "mltrack", *words], cwd=folder, check=True, capture_output=True)
    return folder / ".mltrack"


@pytest.mark.slow
def test_lines_of_code_keep_their_tabs_and_control_no_terminal(code_store: Path) -> None:
    said = subprocess.run(
        [
            sys.executable,
            "-m",
            "mltrack",
            "--store",
            str(code_store),
            "diff",
            "one",
            LONG,
        ],
        capture_output=True,
        check=True,
    ).stdout.decode()
    shown = in_terminal(code_store, "diff", "one", LONG, width=80)
    for text in (said, shown):
        assert "--- a/train.sh\n+++ b/train.sh\n@@ -1 +1 @@\n-\tif true\n+\tif \\x1b]0;x\\x07 größer\n" in text
    assert "\x1b" not in said


@pytest.mark.slow
@pytest.mark.parametrize(("width", "name"), [(80, "a-name-that-is-longer-t…"), (200, LONG)])
def test_the_report_fits_a_terminal(code_store: Path, width: int, name: str) -> None:
    shown = in_terminal(code_store, "diff", "one", LONG, width=width)
    report = shown.partition("--- a/")[0]
    assert name in report
    assert max(map(len, report.splitlines())) <= width


def test_brief_names_files_only(code_store: Path) -> None:
    shown = in_terminal(code_store, "diff", "one", LONG, "-q", "--only", "source")
    assert "train.sh" in shown
    assert "@@" not in shown


def test_the_same_name_is_shown_with_ids(cli: Cli, tmp_path: Path) -> None:
    ids = []
    for number in (1, 2):
        with fluent.start_run(run_name="twin") as run:
            run.log_param("number", number)
            ids.append(run.run_id)
    head = cli("diff", *ids).out.splitlines()[0].split()
    assert head == ["twin", ids[0][:8], "twin", ids[1][:8]]
