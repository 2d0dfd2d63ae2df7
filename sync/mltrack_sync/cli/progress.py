"""A bar on the terminal while a pull goes on."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from mltrack.text.printing import console

if TYPE_CHECKING:
    from collections.abc import Callable

    from mltrack_sync.report import PullReport

__all__ = ["with_progress"]


def with_progress(one_pull: Callable[..., PullReport], as_json: bool) -> PullReport:
    """Pull, with a bar where somebody looks on; none with ``as_json``."""
    from mltrack_sync.progress import BarProgress

    if as_json or not sys.stderr.isatty():
        return one_pull()
    with BarProgress(console(err=True)) as progress:
        return one_pull(progress=progress)
