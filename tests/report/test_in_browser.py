"""A report looked at in Chromium, from disk: it asks for nothing, and works with pointer, keyboard, phone and dark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import mltrack
from mltrack.drawing.curves import Chart, curve_of
from mltrack.notebook.plots import Plot
from mltrack.recording import current_store, fluent
from mltrack.report.collect import collect_report
from mltrack.report.html_page import as_html
from mltrack.store import Store
from tests.support.evil import evil_store
from tests.support.ui.looking import IDLE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Frame, Locator, Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

SPIKE = 777.5
FIRST_CHART = "document.querySelector('.chart-area canvas')"
IS_DRAWN = f"""
(canvas => {{
  const blank = Object.assign(document.createElement('canvas'), {{width: canvas.width, height: canvas.height}});
  return canvas.toDataURL() !== blank.toDataURL();
}})({FIRST_CHART})
"""
"""Whether the first chart is drawn: one that is out of sight is not, and takes no pointer and no key until it is."""
Opened = Callable[..., "Page"]


def write_report(store: Store, target: Path) -> Path:
    ids = [run.info.run_id for run in store.search_runs(order_by=["attributes.run_name"])]
    notes = "Some *notes* with `code`."
    target.write_text(as_html(collect_report(store, ids, now_ms=1_800_000_000_000, notes=notes)), encoding="utf-8")
    return target


@pytest.fixture(scope="module")
def report_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs: two metrics, one with a spike, an image, a table."""
    folder = tmp_path_factory.mktemp("report")
    current_store.set_store(folder / ".mltrack")
    for number in range(3):
        with fluent.start_run(run_name=f"run-{number}") as run:
            run.log_params({"lr": 10.0**-number, "width": 64})
            values = np.exp(-np.arange(20_000) / 5_000) + number / 10
            values[10_000] = SPIKE
            run.log_series("loss", values)
            run.log_series("val/acc", 1 - values[::100])
            run.log({"sample": mltrack.Image(np.full((8, 8), 99, np.uint8))}, step=1)
            run.log({"table": mltrack.Table([{"a": 1, "b": "x" * 300}])}, step=1)
    current_store.set_store(None)
    return write_report(Store.open(folder / ".mltrack"), folder / "report.html")


@pytest.fixture
def opened(chromium_browser: Browser) -> Iterator[Opened]:
    """Opens a page; it may ask for nothing but itself, and nothing may go wrong on it by the end of the test."""
    pages: list[Page] = []
    faults: list[str] = []

    def open_page(path: Path, *, width: int = 1300, dark: bool = False) -> Page:
        context = chromium_browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", offline=True
        )
        page = context.new_page()
        page.on("console", lambda message: faults.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: faults.append(f"exception: {error}"))
        page.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}"))
        page.on("request", lambda asked: faults.append(asked.url) if asked.url != path.as_uri() else None)
        page.goto(path.as_uri())
        page.locator("#board .chart-note").first.wait_for(state="attached")
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.context.close()
    assert [fault for fault in faults if not fault.startswith("data:image/")] == []


def names(page: Page) -> list[str]:
    return page.locator("#runs-table tbody tr:visible th").all_inner_texts()


def first_chart(page: Page | Frame) -> Locator:
    """The first chart, brought into sight and drawn."""
    area = page.locator(".chart-area").first
    area.scroll_into_view_if_needed()
    page.evaluate(IDLE)
    page.wait_for_function(IS_DRAWN)
    return area


def picture(page: Page) -> str:
    """What the first chart shows."""
    first_chart(page)
    return str(page.evaluate(f"{FIRST_CHART}.toDataURL()"))


def test_the_table_of_runs_is_sorted_by_click_and_by_key(opened: Opened, report_file: Path) -> None:
    page = opened(report_file)
    heading = page.get_by_role("button", name="lr", exact=True)
    heading.click()
    assert names(page) == ["run-2", "run-1", "run-0"]
    assert page.locator("th", has=heading).get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Enter")
    assert names(page) == ["run-0", "run-1", "run-2"]
    assert page.locator("th", has=heading).get_attribute("aria-sort") == "descending"


def test_the_filter_hides_runs_in_the_table_and_in_the_charts(opened: Opened, report_file: Path) -> None:
    page = opened(report_file)
    before = picture(page)
    page.locator("#filter").fill("lr<0.05 finished")
    assert names(page) == ["run-2"]
    assert page.get_by_role("status").inner_text() == "1 of 3 runs"
    assert page.locator(".chip[aria-pressed]:visible").all_inner_texts() == ["run-2"]
    assert picture(page) != before
    page.locator("#filter").fill("")
    assert len(names(page)) == 3
    assert picture(page) == before


def test_the_value_under_the_pointer_is_shown_and_the_spike_is_kept(opened: Opened, report_file: Path) -> None:
    page = opened(report_file)
    area = first_chart(page)
    box = area.bounding_box()
    assert box is not None
    middle = box["x"] + 58 + (box["width"] - 70) / 2
    page.mouse.move(middle, box["y"] + 20)
    tip = area.locator(".tip")
    tip.wait_for()
    assert str(SPIKE) in tip.inner_text()
    assert "run-1" in tip.inner_text()


def test_a_drag_zooms_and_a_double_click_shows_all(opened: Opened, report_file: Path) -> None:
    page = opened(report_file)
    before = picture(page)
    box = page.locator(".chart-area").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 105, steps=4)
    page.mouse.up()
    assert picture(page) != before
    page.mouse.dblclick(box["x"] + 150, box["y"] + 100)
    assert picture(page) == before


def test_a_chart_is_read_and_zoomed_by_keyboard(opened: Opened, report_file: Path) -> None:
    page = opened(report_file)
    area = first_chart(page)
    area.focus()
    before = picture(page)
    page.keyboard.press("ArrowRight")
    said = page.locator(".chart [aria-live]").first
    first = said.text_content() or ""
    assert first.startswith("run-0: ")
    page.keyboard.press("ArrowDown")
    assert (said.text_content() or "").startswith("run-1: ")
    page.keyboard.press("+")
    assert picture(page) != before
    page.keyboard.press("0")
    assert picture(page) == before


def test_axes_and_smoothing_change_the_charts(opened: Opened, report_file: Path) -> None:
    page = opened(report_file)
    seen = {picture(page)}
    page.get_by_label("log y").check()
    seen.add(picture(page))
    page.get_by_label("log x").check()
    seen.add(picture(page))
    page.get_by_label("smoothing").fill("0.9")
    seen.add(picture(page))
    page.get_by_role("button", name="run-1", exact=True).click()
    seen.add(picture(page))
    page.get_by_role("button", name="Show none of the runs").click()
    seen.add(picture(page))
    page.get_by_role("button", name="Show all of the runs").click()
    page.get_by_label("x axis").select_option("seconds")
    seen.add(picture(page))
    assert len(seen) == 7
    page.get_by_role("searchbox", name="metrics").fill("val")
    assert page.locator(".chart:visible h3").all_inner_texts() == ["val/acc"]


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_scrolls_down_only_and_dark_is_dark(opened: Opened, report_file: Path, dark: bool) -> None:
    page = opened(report_file, width=375, dark=dark)
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(20, 23, 26)" if dark else "rgb(255, 255, 255)")


def test_every_control_is_reached_by_the_tab_key_and_shows_its_focus(opened: Opened, report_file: Path) -> None:
    page = opened(report_file)
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        name = page.evaluate("document.activeElement.className || document.activeElement.id")
        if name:  # else it is the browser's own, after the last of the page
            reached.add(name)
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert {"skip", "sort", "filter", "scroll", "chip", "tool", "chart-area"} <= reached


def test_hostile_names_do_nothing_in_a_browser(opened: Opened, tmp_path: Path) -> None:
    page = opened(write_report(evil_store(tmp_path), tmp_path / "evil.html"), width=375)
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    assert page.locator("img").count() == 0
    assert "<script>alert(1)</script>" in page.locator(".chart h3").first.inner_text()


def test_a_plot_in_a_notebook_is_drawn_in_its_frame(chromium_browser: Browser, tmp_path: Path) -> None:
    store = evil_store(tmp_path)
    target = tmp_path / "cell.html"
    target.write_text(f"<!doctype html><meta charset=utf-8>{store.plot()._repr_html_()}", encoding="utf-8")
    page = chromium_browser.new_page()
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: faults.append(dialog.message))
    page.goto(target.as_uri())
    page.locator("iframe").scroll_into_view_if_needed()
    frame = page.frames[-1]
    first_chart(frame).focus()
    page.keyboard.press("ArrowRight")
    assert (frame.locator("[aria-live]").text_content() or "").startswith("run")
    assert "<script>alert(1)</script>" in frame.locator(".chart h3").inner_text()
    page.close()
    assert faults == []


def test_smoothing_follows_the_mean_and_not_the_peaks_that_are_kept(chromium_browser: Browser, tmp_path: Path) -> None:
    values = np.where(np.arange(200_000) % 50 == 7, 100.0, 1.0)  # each part has a peak; the mean is 2.98
    chart = Chart("loss", (curve_of("r", "run", 0, (np.arange(len(values)), np.zeros_like(values, np.int64), values),
                           points_max=2_000),))  # fmt: skip
    target = tmp_path / "plot.html"
    Plot([chart]).save(target)
    page = chromium_browser.new_page()
    page.goto(target.as_uri())
    page.get_by_label("smoothing").fill("0.99")
    first_chart(page).hover()
    shown = page.locator(".tip-value").inner_text()
    smooth = float(shown.partition("(")[2].rstrip(")"))
    page.close()
    assert 1 < smooth < 8


def test_a_tap_shows_the_values_until_the_next(chromium_browser: Browser, report_file: Path) -> None:
    context = chromium_browser.new_context(viewport={"width": 375, "height": 800}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(report_file.as_uri())
    area = first_chart(page)
    area.tap()
    area.locator(".tip").wait_for()
    assert "run-1" in area.locator(".tip").inner_text()
    context.close()
