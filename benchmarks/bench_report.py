"""How large a report of 50 runs of a million points is, how long it takes, and what it keeps of the peaks.

    python benchmarks/bench_report.py [--runs N] [--points N]

Promise: under 6 MB, with the peak of every run in it. Compared with what one would write by hand: a figure of plotly
with the same curves, from every so-manieth point so that each has 2,000, and from all points (extrapolated from two
runs); read from the same store. Where Chromium and playwright are installed, also how long each page takes to be drawn.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from measure import ROUNDS, fresh_folder, heading, in_fresh_process, peak_memory, require, row

BYTES_MAX = 6_000_000
KEPT = 2_000
PEAK = 1_000.0
ALL_OF = 2
DRAWN_MAX_MS = 120_000


def record(folder: Path, runs: int, points: int) -> None:
    """A store with runs of one metric, each with one peak of its own height."""
    import numpy as np

    import mltrack

    mltrack.set_store(folder)
    at = np.arange(points)
    for number in range(runs):
        noise = np.random.default_rng(number).normal(scale=0.02, size=points)
        values = np.exp(-at / points * (2 + number % 5)) + noise
        values[(number * 7_919 + points // 3) % points] = PEAK + number
        with mltrack.start_run(run_name=f"run-{number}") as run:
            run.log_params({"lr": 10.0 ** -(number % 4), "layers": number % 3})
            run.log_series("loss", values, at)
    mltrack.set_store(None)


def by_mltrack(folder: str, target: str) -> None:
    """Print seconds, bytes, peaks kept, and MB of memory: what a process of its own does."""
    from mltrack.report.collect import collect_report
    from mltrack.report.html_page import as_html
    from mltrack.store import Store

    store = Store.open(folder)
    began = time.perf_counter()
    report = collect_report(store, store.run_ids(), now_ms=0)
    Path(target).write_text(as_html(report), encoding="utf-8")
    seconds = time.perf_counter() - began
    peaks = {float(curve.values.max()) for chart in report.charts for curve in chart.curves}
    kept = sum(PEAK + number in peaks for number in range(len(report.runs)))
    print(seconds, Path(target).stat().st_size, kept, peak_memory() / 1e6)


def by_plotly(folder: str, target: str, runs: str, points_max: str) -> None:
    """The same by hand: read, take every so-manieth point, draw."""
    from plotly import graph_objects

    from mltrack.store import Store

    store = Store.open(folder)
    began = time.perf_counter()
    figure = graph_objects.Figure()
    peaks = 0
    for run_id in store.run_ids()[: int(runs)]:
        run = store.run(run_id)
        steps, _, values = run.columns("loss")
        every = max(1, len(values) // int(points_max)) if int(points_max) else 1
        figure.add_scatter(x=steps[::every], y=values[::every], name=run.info.run_name, mode="lines")
        peaks += bool(values[::every].max() >= PEAK)
    figure.write_html(target, include_plotlyjs=True)
    print(time.perf_counter() - began, Path(target).stat().st_size, peaks, peak_memory() / 1e6)


def drawn_after(page: str, ready: str) -> None:
    """Print the seconds until Chromium has drawn a page: the median of three."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        program = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--headless=new"])
        times = []
        for _ in range(3):
            tab = browser.new_page(viewport={"width": 1300, "height": 900})
            began = time.perf_counter()
            tab.goto(Path(page).as_uri())
            tab.locator(".chart, .plotly-graph-div").first.scroll_into_view_if_needed(timeout=DRAWN_MAX_MS)
            tab.locator(ready).first.wait_for(state="attached", timeout=DRAWN_MAX_MS)
            tab.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            times.append(time.perf_counter() - began)
            tab.close()
        browser.close()
    print(statistics.median(times))


def drawing_time(page: Path, ready: str) -> str:
    """That of a page, where there is a browser."""
    try:
        import playwright  # noqa: F401
    except ImportError:
        return "no browser"
    if not (shutil.which("chromium") or shutil.which("google-chrome")):
        return "no browser"
    return f"{in_fresh_process(__file__, 'drawn_after', str(page), ready)[0]:.1f} s"


def main() -> int:
    """Measure and print; 1 where the promise is not kept."""
    parts: dict[str, Callable[..., None]] = {
        "by_mltrack": by_mltrack,
        "by_plotly": by_plotly,
        "drawn_after": drawn_after,
    }
    if len(sys.argv) > 1 and sys.argv[1] in parts:
        parts[sys.argv[1]](*sys.argv[2:])
        return 0
    require("plotly")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--points", type=int, default=1_000_000)
    given = parser.parse_args()
    with fresh_folder() as folder:
        store, ours, theirs = folder / "store", folder / "report.html", folder / "plotly.html"
        record(store, given.runs, given.points)
        rounds = [in_fresh_process(__file__, "by_mltrack", str(store), str(ours)) for _ in range(min(ROUNDS, 3))]
        seconds, size, kept, memory = (statistics.median(column) for column in zip(*rounds, strict=True))
        count = str(given.runs)
        sampled = in_fresh_process(__file__, "by_plotly", str(store), str(theirs), count, str(KEPT))
        all_of = min(ALL_OF, given.runs)
        whole = in_fresh_process(__file__, "by_plotly", str(store), str(folder / "all.html"), str(all_of), "0")
        more = given.runs / all_of
        heading(f"A report of {given.runs} runs of {given.points:,} points")
        keeps = size < BYTES_MAX and kept == given.runs
        row("", "written in", "size", "peaks kept", "drawn in")
        drawn = drawing_time(ours, ".chart-note:not(:empty)")
        row("mltrack report", f"{seconds:.1f} s", f"{size / 1e6:.1f} MB", f"{kept:.0f}", drawn, verdict=keeps)
        drawn = drawing_time(theirs, ".scatterlayer .trace path.js-line")
        figures = f"{sampled[0]:.1f} s", f"{sampled[1] / 1e6:.1f} MB", f"{sampled[2]:.0f}", drawn
        row(f"plotly, {KEPT:,} points of each run", *figures)
        row("plotly, all points (extrapolated)", f"{whole[0] * more:.0f} s", f"{whole[1] * more / 1e6:,.0f} MB")
        row("memory", f"{memory:,.0f} MB")
    return 0 if keeps else 1


if __name__ == "__main__":
    sys.exit(main())
