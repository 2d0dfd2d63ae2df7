"""The folder of a user's own settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["settings_folder"]


def settings_folder(environ: Mapping[str, str] = os.environ) -> Path | None:
    """``$XDG_CONFIG_HOME/mltrack``, by default in ``~/.config``; None for a user without a home folder."""
    folder = environ.get("XDG_CONFIG_HOME", "")
    if os.path.isabs(folder):
        return Path(folder) / "mltrack"
    try:
        return Path.home() / ".config" / "mltrack"
    except RuntimeError:
        return None
