"""An output of a notebook that is drawn again while a run goes on, by a thread that ends with the run."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING

from mltrack.drawing.markup import Html, element
from mltrack.errors import MltrackError, UsageError
from mltrack.process.exits import Stage, at_exit
from mltrack.values.arguments import seconds_argument

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, Self

__all__ = ["LiveView", "idle_view", "is_notebook", "notebook_output"]

EVERY_S = 1.0
REST = 9.0
"""The thread rests for so many times the time that the last drawing took: it never takes a tenth of a core."""

_views: dict[object, LiveView] = {}
_views_lock = threading.Lock()


class LiveView:
    """A drawing that is kept up to date until the run ends, ``stop`` is called, or the same view is asked for again.

    As a context manager it stops at the end of the block. The last state stays in the notebook.
    """

    def __init__(
        self,
        draw: Callable[[bool], tuple[Html, bool]],
        show: Callable[[Html], None],
        *,
        identity: object = None,
        every_s: float = EVERY_S,
    ) -> None:
        """Nothing is drawn before ``start``.

        Args:
            draw: gives the drawing, and whether there will be more to draw; it is given whether the view was stopped.
            show: shows it, in the place of the one before.
            identity: what it is a view of; an earlier one of the same thing is stopped.
            every_s: how often it is drawn again, at most.

        Raises:
            UsageError: ``every_s`` is not a positive number.
        """
        seconds_argument("every_s", every_s)
        self._draw = draw
        self._show = show
        self._every_s = every_s
        self._identity = identity if identity is not None else object()
        self._owner = os.getpid()
        self._stopping = threading.Event()
        self._shown = Html("")
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"LiveView({'live' if self.live else 'stopped'})"

    def _ipython_display_(self) -> None:
        """Nothing: it was shown when it started."""

    @property
    def live(self) -> bool:
        """Whether it is still kept up to date."""
        return self._owner == os.getpid() and self._thread is not None and self._thread.is_alive()

    def start(self) -> Self:
        """Draw once, and go on in a thread if there will be more to draw."""
        with _views_lock:
            earlier = _views.pop(self._identity, None)
        if earlier is not None:
            earlier.stop()
        if self._update():
            self._thread = threading.Thread(target=self._work, name="mltrack-live-view", daemon=True)
            with _views_lock:
                _views[self._identity] = self
            self._thread.start()
        return self

    def stop(self) -> None:
        """End the thread, and draw the last state; does nothing in a forked child, and nothing when called again."""
        if self._owner != os.getpid() or self._stopping.is_set():
            return
        running = self._thread is not None and self._thread.is_alive()
        self._stopping.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        if running:
            self._update()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _work(self) -> None:
        began = time.monotonic()
        more = True
        while more and not self._stopping.wait(max(self._every_s, REST * (time.monotonic() - began))):
            began = time.monotonic()
            more = self._update()
        with _views_lock:
            if _views.get(self._identity) is self:
                del _views[self._identity]

    def _update(self) -> bool:
        """Draw; False where there is nothing more to draw. What can't be read is said in the place of the drawing."""
        try:
            drawn, more = self._draw(self._stopping.is_set())
        except (MltrackError, OSError) as error:
            drawn, more = element("p", f"error: {error}"), False
        if drawn != self._shown:
            self._shown = drawn
            self._show(drawn)
        return more


def idle_view(every_s: float) -> LiveView:
    """A view that shows nothing, where there is no notebook.

    Raises:
        UsageError: ``every_s`` is not a positive number.
    """
    return LiveView(lambda _: (Html(""), False), lambda _: None, every_s=every_s)


def _stop_all() -> None:
    """No thread draws while the interpreter ends."""
    for view in list(_views.values()):
        view._stopping.set()


at_exit(Stage.RECORDING, _stop_all)


def is_notebook() -> bool:
    """Whether this program is a notebook's kernel, and not a terminal."""
    ipython: Any = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


def notebook_output() -> Callable[[Html], None]:
    """Shows HTML in the cell that runs now: first as a new output, then in its place.

    Raises:
        UsageError: this is not a notebook.
    """
    if not is_notebook():
        raise UsageError("a live view needs a notebook", hint="in a terminal: mltrack top, or mltrack tail -f RUN")
    from IPython.display import HTML, display

    handle: Any = None

    def show(drawn: Html) -> None:
        nonlocal handle
        if handle is None:
            handle = display(HTML(drawn), display_id=True)  # type: ignore[no-untyped-call]
        else:
            handle.update(HTML(drawn))  # type: ignore[no-untyped-call]

    return show
