"""Reports: what is collected, what each format shows, and that nothing leaves its place."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import mltrack
from mltrack.launch.log_file import log_name
from mltrack.recording import current_store, fluent
from mltrack.report.collect import Limits, collect_report
from mltrack.report.html_page import as_html
from mltrack.report.markdown import as_markdown
from mltrack.report.model import Report
from mltrack.report.notes import notes_html
from mltrack.report.png import as_png
from mltrack.store import Store
from mltrack.text.printable import printable
from tests.support.command_line import Cli
from tests.support.evil import EVIL, evil_store
from tests.support.html_audit import Audit
from tests.support.written_runs import long_run

NOW_MS = 1_800_000_000_000
FOREIGN = re.compile(r"https?://(?!www\.w3\.org/2000/svg)")


def all_of(store: Store, **given: object) -> Report:
    ids = sorted(run.info.run_id for run in store.search_runs())
    return collect_report(store, ids, now_ms=NOW_MS, **given)  # type: ignore[arg-type]


@pytest.fixture
def evil(tmp_path: Path) -> Report:
    return all_of(evil_store(tmp_path), title=f"title {EVIL}", notes=f"notes {EVIL}")


@pytest.fixture
def rich_report(tmp_path: Path) -> Report:
    """Two runs with a spike, an image, a table and an infinite value."""
    current_store.set_store(tmp_path / ".mltrack")
    for number in range(2):
        with fluent.start_run(run_name="twins") as run:
            run.log_params({"lr": number, "same": 1})
            values = np.sin(np.arange(30_000) / 1000)
            values[12_345] = 99.0
            run.log_series("loss", values)
            run.log_metric("val/loss", float("inf"))
            run.log({"sample": mltrack.Image(np.zeros((4, 4), np.uint8))}, step=7)
            run.log_table({"a": [1, 2]}, "tables/a.json")
    current_store.set_store(None)
    return all_of(Store.open(tmp_path / ".mltrack"))


def test_hostile_names_and_texts_stay_text_in_html(evil: Report) -> None:
    page = as_html(evil)
    found = Audit(page, links=("https://evil.example",))  # the notes' own link, which nothing follows by itself
    assert found.faults == []
    assert len(found.scripts) == 1
    assert "alert(1)" not in found.scripts[0]
    assert set(found.tags) & {"img", "iframe"} == set()
    assert [json.loads(block) for block in found.data]
    assert found.text.count("<script>alert(1)</script>") > 20
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", page)
    assert "default-src &#x27;none&#x27;" in page


def test_hostile_names_and_texts_stay_text_in_markdown(evil: Report) -> None:
    document = as_markdown(evil).replace(printable(f"notes {EVIL}"), "")
    outside = re.sub(r"(?ms)^(`{3,})[^\n]*\n.*?\n\1$", "", document)
    assert "[a](" not in outside
    assert "<script>" not in outside.replace("\\<", "")
    assert not FOREIGN.search(outside.partition("## Runs")[2])
    assert "\x1b" not in document
    assert "last line 1" in document


def test_hostile_names_are_drawn_as_they_are_in_png(evil: Report) -> None:
    assert as_png(evil).startswith(b"\x89PNG")


def test_notes_are_markdown_in_which_html_is_text() -> None:
    notes = "# Head\n\n**bold** `code` <b>x</b>\n\n| a |\n| - |\n| 1 |\n\n"
    made = notes_html(f"{notes}![i](https://evil.example/i.png) [j](javascript:x)")
    found = Audit(made, links=("https://evil.example/i.png",))
    assert found.faults == []
    assert {"h2", "strong", "code", "table"} <= set(found.tags)
    assert "img" not in found.tags and "b" not in found.tags
    assert "<b>x</b>" in found.text


def test_peaks_are_kept_and_the_share_of_a_curve_shrinks_with_their_number(tmp_path: Path, rich_report: Report) -> None:
    loss = next(chart for chart in rich_report.charts if chart.key == "loss")
    assert [(curve.count, curve.values.max()) for curve in loss.curves] == [(30_000, 99.0)] * 2
    assert all(2_000 < len(curve.values) <= 5_000 for curve in loss.curves)
    few = all_of(Store.open(tmp_path / ".mltrack"), limits=Limits(points_max=800))
    assert all(len(curve.values) <= 200 for chart in few.charts for curve in chart.curves)
    assert few.charts[0].curves[0].values.max() == 99.0


def test_runs_of_one_name_have_other_labels_and_params_that_differ_are_shown(rich_report: Report) -> None:
    labels = [run.label for run in rich_report.runs]
    assert len({run.look for run in rich_report.runs}) == 2
    assert len(set(labels)) == 2 and all(label.startswith("twins ") for label in labels)
    page = as_html(rich_report)
    assert "1 param equal in all runs" in page
    assert page.count('alt="sample of twins') == 2
    assert "tables/a.json" in page
    assert rich_report.left_out == ()


def test_metrics_are_chosen_and_those_beyond_the_limit_are_named(tmp_path: Path, rich_report: Report) -> None:
    store = Store.open(tmp_path / ".mltrack")
    assert [chart.key for chart in all_of(store, metrics="^val/").charts] == ["val/loss"]
    few = all_of(store, limits=Limits(curves_max=2, image_bytes_max=0))
    assert [chart.key for chart in few.charts] == ["loss"]
    assert [text.partition(":")[0] for text in few.left_out] == ["charts of 1 metric (val/loss)", "2 images"]


def test_logs_beyond_the_limit_are_counted(tmp_path: Path) -> None:
    current_store.set_store(tmp_path / ".mltrack")
    with fluent.start_run() as run:
        for number in range(101):
            run.log_text(f"log {number}\n", log_name(number))
    current_store.set_store(None)
    report = all_of(Store.open(tmp_path / ".mltrack"))
    assert [log.text for log in report.logs[::99]] == ["log 0", "log 99"]
    assert report.left_out == ("1 log: name fewer runs",)


def test_a_report_loads_nothing_and_its_policy_names_its_own_script(rich_report: Report) -> None:
    page = as_html(rich_report)
    assert Audit(page).faults == []
    assert not FOREIGN.search(page)
    assert re.search(r"script-src &#x27;sha256-[^ ]+&#x27;; style-src &#x27;sha256-", page)


def test_a_report_of_damaged_points_says_what_is_missing(small_store: Store, cli: Cli, tmp_path: Path) -> None:
    run_id = long_run(small_store)
    (path,) = small_store.run(run_id).folder.segments.iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0xFF
    path.write_bytes(data)
    said = cli("report", run_id, "spirals-2", "-o", str(tmp_path / "r.html"))
    assert said.code == 3
    assert "warning: not in the output" in said.err
    assert "spirals-2" in (tmp_path / "r.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "start"), [("r.html", b"<!doctype"), ("r.md", b"# spirals-1"), ("r.png", b"\x89PNG")])
def test_the_ending_of_the_file_chooses_the_format(cli: Cli, tmp_path: Path, name: str, start: bytes) -> None:
    assert cli("report", "spirals-1", "-o", str(tmp_path / name)).code == 0
    assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("-o r.pdf", "r.pdf: no format has that ending"),
        ("-o r.md --format png", "r.md is not a name for png"),
        ("spirals-1 --filter metrics.loss<1", "RUNs and a filter can't be used together"),
        ("--notes no-such.md", "there is no file no-such.md"),
        ("--metrics (", "'(' is not a regular expression"),
        ("--filter metrics.loss<-1", "no runs that match"),
        ("no-such-run", "no run 'no-such-run'"),
    ],
)
def test_a_mistake_is_said_in_one_line_and_nothing_is_written(cli: Cli, tmp_path: Path, words: str, said: str) -> None:
    found = cli("report", *words.split())
    assert found.code in (1, 2, 4)
    assert found.err.splitlines()[0].startswith(f"error: {said}")
    assert list(tmp_path.glob("*.html")) == []


def test_runs_are_selected_by_a_filter_and_notes_are_read_from_a_file(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("## Why\n", encoding="utf-8")
    said = cli("report", "--filter", "params.lr = '0.1'", "--notes", "notes.md", "--title", "Two", "-o", "-")
    found = Audit(said.out)
    assert "Two" in found.text and "Why" in found.text
    assert "spirals-1" in found.text and "spirals-3" not in found.text
    assert "not in" not in said.err
    more = cli("report", "--limit", "2", "--without", "environment", "--without", "logs", "-o", "r.html")
    assert "there are more runs than 2" in more.err
    found_less = Audit((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "Environment" not in found_less.text and "step 1" not in found_less.text
    assert "Environment" in found.text and "step 1" in found.text
    assert "1 tag equal in all runs" in found.text and "teamred" in found.text


@pytest.mark.slow
def test_whatever_runs_hold_a_report_stays_within_its_size(tmp_path: Path) -> None:
    current_store.set_store(tmp_path / ".mltrack")
    random = np.random.default_rng(0)
    for number in range(4):
        with fluent.start_run(run_name=f"run-{number}") as run:
            run.log_params({f"prompt-{key}": "<&" * 3_000 + str(number) for key in range(20)})
            for key in range(4):
                run.log_series(f"m{key}", 1e6 + random.normal(size=3_000) * 1e-3)  # which float32 can't hold
            run.log({f"t{key}": mltrack.Text("<" * 5_000) for key in range(40)}, step=0)
            run.log({"table": mltrack.Table([{"a": "&" * 500}] * 100)}, step=0)
            run.log_image(random.integers(0, 255, (300, 300, 3), np.uint8), "noise.png")
            run.log_text("".join("<" * 1_500 + "\n" for _ in range(60)), "user_logs/std_log.txt")
    current_store.set_store(None)
    limits = Limits(
        points_max=8_000, params_max=40, image_bytes_max=200_000, text_characters_max=50_000, log_characters_max=40_000
    )
    report = all_of(Store.open(tmp_path / ".mltrack"), limits=limits)
    # of a point 20 bytes in base64; up to five characters for one that is escaped, and each param several times
    held = 8_000 * 27 + 200_000 * 4 / 3 + 5 * (50_000 + 40_000) + 5 * 40 * 500 * 4
    assert len(as_html(report)) < held + 150_000
    assert [text.partition(":")[0] for text in report.left_out][:2] == ["10 params", "1 image"]
