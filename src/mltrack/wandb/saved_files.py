"""``run.save``: files of the program as files of the run, copied at once and, if they change, again at its end."""

from __future__ import annotations

import glob as globbing
import os
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

from mltrack.wandb.errors import UsageError
from mltrack.wandb.notices import say_once

__all__ = ["SavedFiles"]

POLICIES = ("live", "now", "end")


class SavedFiles:
    """The files that one run saves; ``store`` copies one under a name."""

    def __init__(self, store: Callable[[Path, str], None], folder: Callable[[], Path]) -> None:
        """Begin; ``folder`` gives the run's own folder, whose files need no copy."""
        self._store = store
        self._folder = folder
        self._again: dict[Path, tuple[str, tuple[int, int] | None]] = {}

    def save(self, pattern: Any, base_path: Any, policy: str, is_pattern: bool) -> list[str]:
        """Save all files that match; returns their paths in the run's folder.

        Args:
            pattern: a path, or a pattern for several.
            base_path: what of the paths is left out of the names; by default the working folder, and for an absolute
                path all but the last folder.
            policy: "now" copies once, "live" and "end" copy again at the end of the run what has changed.
            is_pattern: whether ``*``, ``?`` and ``[`` mean something.

        Raises:
            UsageError: the policy is not one of these; the pattern is not below the base path.
        """
        if policy not in POLICIES:
            raise UsageError(f"{policy!r} is not a policy", hint="one of live, now, end")
        text = os.fsdecode(pattern)
        if text.startswith(("gs://", "s3://")):
            say_once(f"save: {text} is not a local file")
            return []
        whole = PurePath(os.path.abspath(text))
        if base_path is not None:
            base = PurePath(os.path.abspath(base_path))
        else:
            base = whole.parent.parent if os.path.isabs(text) else PurePath(os.getcwd())
        if not whole.is_relative_to(base):
            raise UsageError(f"{text} is not below {base}", hint="give base_path")
        found = sorted(globbing.glob(str(whole), recursive=True)) if is_pattern else [str(whole)]
        paths = [Path(one) for one in found if os.path.isfile(one)]
        if not paths:
            say_once(f"save: no file matches {text}")
        return [self._save(path, path.relative_to(base).as_posix(), policy) for path in paths]

    def _save(self, path: Path, name: str, policy: str) -> str:
        target = self._folder() / name
        if path.resolve() != target.resolve():
            self._store(path, name)
            if policy != "now":
                self._again[path] = (name, _stamp(path))
        return str(target)

    def save_again(self) -> None:
        """Copy what has changed since."""
        for path, (name, stamp) in self._again.items():
            now = _stamp(path)
            if now is not None and now != stamp:
                self._store(path, name)
        self._again.clear()


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_size, about.st_mtime_ns
