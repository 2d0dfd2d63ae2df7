"""What notebooks show: tables in which names stay text, charts of chosen metrics, and views that follow a run."""

from __future__ import annotations

import os
import re
import threading
from html import unescape
from pathlib import Path

import pytest

from mltrack.drawing.markup import Html
from mltrack.errors import NotFoundError, UsageError
from mltrack.notebook.live import LiveView, notebook_output
from mltrack.notebook.plots import live_html
from mltrack.recording import current_store, fluent
from mltrack.store import Store
from tests.support.evil import EVIL, evil_store
from tests.support.html_audit import Audit
from tests.support.written_runs import write_run

STYLE = "div style='display: flex; flex-wrap: wrap; gap: 8px'"


def test_hostile_names_stay_text_in_every_table_and_drawing(tmp_path: Path) -> None:
    store = evil_store(tmp_path)
    found = store.search_runs()
    run = store.run(found[0].run_id)
    for made in (store._repr_html_(), found._repr_html_(), found[0]._repr_html_(), run._repr_html_()):
        audit = Audit(made or "")
        assert audit.faults == []
        assert audit.scripts == []
        assert set(audit.tags) & {"img", "a"} == set()
        assert "<script>alert(1)</script>" in audit.text
    drawn = Audit(live_html(run, [], "live"))
    assert drawn.faults == [STYLE] or drawn.faults == []
    assert "<script>alert(1)</script>" in drawn.text


def test_a_plot_is_a_page_in_a_frame_that_reaches_nothing(tmp_path: Path) -> None:
    store = evil_store(tmp_path)
    frame = store.plot()._repr_html_()
    assert Audit(frame).tags == ["iframe"]
    assert ' sandbox="allow-scripts"' in frame
    inner = unescape(re.search(r'srcdoc="([^"]*)"', frame)[1])  # type: ignore[index]
    assert Audit(inner).faults == []
    assert len(Audit(inner).scripts) == 1


def test_a_store_shows_its_newest_runs_with_what_differs(small_store: Store) -> None:
    text = Audit(small_store._repr_html_()).text
    assert ": 3 runs in 2 experiments" in text
    heads = re.findall(r'scope="col">([^<]*)', small_store._repr_html_())
    assert heads == ["run", "status", "started (UTC)", "duration", "layers", "lr", "accuracy", "loss"]


def test_a_run_shows_its_params_and_a_curve_of_each_metric(small_store: Store) -> None:
    made = small_store.run("spirals-1")._repr_html_()
    assert made.count("<svg") == 2
    assert {"lr", "0.1", "loss", "accuracy", "0.25"} <= set(re.findall(r">([^<]+)<", made))


def test_long_names_and_values_are_shortened(tmp_path: Path) -> None:
    current_store.set_store(tmp_path / ".mltrack")
    with fluent.start_run(run_name="n" * 500) as run:
        run.log_param("p" * 500, "v" * 500)
        run.log_metric("m" * 500, 1)
    with fluent.start_run():
        pass
    store = Store.open(tmp_path / ".mltrack")
    for made in (store._repr_html_(), store.run(run.run_id)._repr_html_(), store.search_runs()[1]._repr_html_()):
        for letter in "npvm":
            assert 60 < len(max(re.findall(f"{letter}+", Audit(made).text), key=len)) < 100


def test_pages_of_other_things_and_an_empty_page_have_no_table(small_store: Store) -> None:
    assert "no runs" in (small_store.search_runs(filter_string="metrics.loss > 9")._repr_html_() or "")
    small_store.search_runs().append("not a run")  # type: ignore[arg-type]
    mixed = small_store.search_runs()
    mixed.append("not a run")  # type: ignore[arg-type]
    assert mixed._repr_html_() is None


@pytest.mark.parametrize(
    ("patterns", "keys"),
    [
        (["loss"], ["loss"]),
        (["val/.*"], ["val/acc", "val/loss"]),
        (["val/acc", "l.*"], ["val/acc", "loss"]),
        ([], ["a+b", "loss", "val/acc", "val/loss"]),
        (["a+b"], ["a+b"]),
    ],
)
def test_metrics_are_chosen_by_name_or_expression(empty_store: Store, patterns: list[str], keys: list[str]) -> None:
    names = ("loss", "val/acc", "val/loss", "a+b", "system/cpu")
    run_id = write_run(empty_store, metrics={name: [(0, 1.0), (1, 2.0)] for name in names})
    plot = empty_store.run(run_id).plot(*patterns)
    assert [chart.key for chart in plot.charts] == keys
    assert repr(plot).startswith(f"{keys[0]}  a run  ▁█  2")


def test_runs_are_laid_over_each_other_and_selected(small_store: Store, tmp_path: Path) -> None:
    plot = small_store.plot("loss", filter_string="params.lr = '0.1'")
    assert sorted(curve.label for curve in plot.charts[0].curves) == ["spirals-1", "spirals-2"]
    plot = small_store.plot(runs=["spirals-3", "spirals-1"])
    assert [curve.label for curve in plot.charts[0].curves] == ["spirals-3", "spirals-1"]
    plot.save(tmp_path / "plot.html")
    assert (tmp_path / "plot.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_plot_of_nothing_names_what_could_be_plotted(small_store: Store) -> None:
    with pytest.raises(NotFoundError, match="no metric matches 'los'") as caught:
        small_store.run("spirals-1").plot("los")
    assert caught.value.hint == "known: accuracy, loss"
    with pytest.raises(UsageError, match="not a regular expression"):
        small_store.plot("(")
    with pytest.raises(NotFoundError, match="no runs to plot"):
        small_store.plot(filter_string="metrics.loss > 9")


# --- live views ---


class Screen:
    """Counts what is drawn; there is more to draw until ``ended`` is set."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.ended = threading.Event()
        self.often = threading.Event()
        self.drawn = 0

    def draw(self, stopped: bool) -> tuple[Html, bool]:
        self.drawn += 1
        if self.drawn == 3:
            self.often.set()
        return Html(f"{self.drawn}{' stopped' if stopped else ''}"), not self.ended.is_set()

    def show(self, drawn: Html) -> None:
        self.shown.append(drawn)


def view_of(screen: Screen, identity: object = None) -> LiveView:
    return LiveView(screen.draw, screen.show, identity=identity, every_s=0.001)


def test_a_view_is_drawn_until_there_is_nothing_more_and_its_thread_ends() -> None:
    screen = Screen()
    view = view_of(screen).start()
    assert screen.often.wait(60)
    screen.ended.set()
    assert view._thread is not None
    view._thread.join(60)
    assert not view.live
    assert screen.shown == [str(number) for number in range(1, screen.drawn + 1)]
    view.stop()
    assert not screen.shown[-1].endswith("stopped")


def test_a_view_that_is_stopped_draws_a_last_time_and_leaves_no_thread() -> None:
    screen = Screen()
    with view_of(screen).start() as view:
        assert screen.often.wait(60)
        assert view.live
    assert screen.shown[-1].endswith("stopped")
    assert view._thread is not None
    assert not view._thread.is_alive()
    view.stop()
    assert sum(text.endswith("stopped") for text in screen.shown) == 1


def test_the_same_view_again_stops_the_one_before() -> None:
    first, second = view_of(Screen(), "same").start(), view_of(Screen(), "same").start()
    assert (first.live, second.live) == (False, True)
    second.stop()


def test_a_view_of_what_has_ended_starts_no_thread_and_one_that_fails_says_why() -> None:
    screen = Screen()
    screen.ended.set()
    assert not view_of(screen).start().live
    shown: list[str] = []

    def fail(stopped: bool) -> tuple[Html, bool]:
        raise NotFoundError("no run <x>")

    assert not LiveView(fail, shown.append).start().live
    assert shown == ["<p>error: no run &lt;x&gt;</p>"]


def test_a_forked_child_stops_nothing() -> None:
    screen = Screen()
    view = view_of(screen).start()
    view._owner = os.getpid() + 1
    view.stop()
    assert not view._stopping.is_set()
    view._owner = os.getpid()
    view.stop()


def test_outside_a_notebook_a_live_view_is_refused_and_a_training_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UsageError, match="needs a notebook"):
        notebook_output()
    with pytest.raises(UsageError, match="every_s is 0"):
        LiveView(Screen().draw, Screen().show, every_s=0)
    current_store.set_store(tmp_path / ".mltrack")
    with fluent.start_run() as run:
        run.log({"loss": 1.0})
        assert repr(run.live("loss")) == "LiveView(stopped)"
        assert "a live view is drawn in a notebook only" in caplog.text
        with pytest.raises(UsageError):
            run.stored().live("loss")
        assert "loss" in repr(run.plot("loss"))
        assert EVIL not in run._repr_html_()
    current_store.set_store(None)
    assert Store.open(tmp_path / ".mltrack").run(run.run_id).info.status == "FINISHED"
