"""What a run that is being recorded shows of itself in a notebook, and what goes on next to it until its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from mltrack.process.trouble import say

if TYPE_CHECKING:
    from mltrack.notebook.live import LiveView
    from mltrack.notebook.plots import Plot
    from mltrack.storage.runs.stored_run import StoredRun

__all__ = ["Attachment", "RunViews"]


class Attachment(Protocol):
    """Something that records into a run from a thread of its own, until it is stopped."""

    def stop(self) -> None:
        """Record a last time and end; does nothing in a forked child, and nothing when called again."""


class _Recorded(Protocol):
    """What Run has."""

    run_id: str

    def stored(self) -> StoredRun: ...

    def attach(self, attachment: Attachment) -> None: ...


class RunViews:
    """The part of ``Run`` that is for notebooks."""

    def plot(self: _Recorded, *metrics: str) -> Plot:
        """Charts of what was logged so far; see StoredRun.plot."""
        return self.stored().plot(*metrics)

    def live(self: _Recorded, *metrics: str, every_s: float = 1.0) -> LiveView:
        """Charts in the cell that runs now, drawn again while the training goes on; see StoredRun.live.

        They are drawn a last time when the run ends, and the thread that draws them ends before ``end`` returns.
        Outside a notebook nothing is drawn, which is said once: a training does not fail for it.

        Raises:
            UsageError: ``every_s`` is not positive.
        """
        from mltrack.notebook.live import idle_view, is_notebook

        if not is_notebook():
            say("run %s: a live view is drawn in a notebook only", self.run_id)
            return idle_view(every_s)
        view = self.stored().live(*metrics, every_s=every_s)
        self.attach(view)
        return view

    def _repr_html_(self: _Recorded) -> str:
        return self.stored()._repr_html_()
