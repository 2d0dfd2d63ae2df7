"""What a stored run shows of itself in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from mltrack.notebook.tables import NotebookRun

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from mltrack.drawing.markup import Html
    from mltrack.entities import RunHead
    from mltrack.notebook.live import LiveView
    from mltrack.notebook.plots import Plot

__all__ = ["NotebookViews"]


class _Refreshed(NotebookRun, Protocol):
    """A run that reads what was written since."""

    def refresh(self) -> object: ...

    def again(self) -> Self: ...

    def head(self) -> RunHead: ...


class NotebookViews:
    """The part of ``StoredRun`` that is for notebooks."""

    def plot(self: NotebookRun, *metrics: str) -> Plot:
        """Charts to zoom in, which a notebook shows; ``print`` shows them as bars of text.

        ``metrics`` are names or regular expressions: ``run.plot("loss", "val/.*")``; by default all but the system's.

        Raises:
            UsageError: one is not a regular expression.
            NotFoundError: no metric matches one of them.
        """
        from mltrack.notebook.plots import plot_runs

        return plot_runs([self], metrics)

    def live(self: _Refreshed, *metrics: str, every_s: float = 1.0) -> LiveView:
        """Charts in the cell that runs now, drawn again as the run goes on: ``run.live("loss", "val/.*")``.

        A thread draws them, until no process has the run open any more, ``stop()`` is called on the result, or the same
        view is asked for again, as by running the cell again.

        Raises:
            UsageError: this is not a notebook, or ``every_s`` is not positive.
        """
        return live_view(self, metrics, every_s)

    def _repr_html_(self: NotebookRun) -> str:
        from mltrack.notebook.tables import run_html

        return run_html(self)


def live_view(run: _Refreshed, metrics: Sequence[str], every_s: float) -> LiveView:
    """A live view of a run, started.

    Raises:
        UsageError: this is not a notebook, or ``every_s`` is not positive.
    """
    from mltrack.notebook.live import LiveView, notebook_output
    from mltrack.notebook.plots import live_html

    own = run.again()  # the thread's own
    drawn: tuple[object, Html] | None = None

    def draw(stopped: bool) -> tuple[Html, bool]:
        nonlocal drawn
        own.refresh()
        live = own.info.live  # read before the points: a writer that has ended by now has written all its points
        status = own.info.shown_status if not live else "" if stopped else "live"
        state = own.head(), status
        if drawn is None or drawn[0] != state:  # else nothing was written since
            drawn = state, live_html(own, metrics, status)
        return drawn[1], live

    identity = run.run_id, tuple(metrics)
    return LiveView(draw, notebook_output(), identity=identity, every_s=every_s).start()
