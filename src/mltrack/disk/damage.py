"""What could not be read or verified: a list that also reports each addition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.errors import CorruptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

__all__ = ["Damage", "unreadable"]


class Damage(list[CorruptionError]):
    """Damage that was found. ``report`` is called with each piece as it is added."""

    def __init__(self, report: Callable[[CorruptionError], None] | None = None) -> None:
        super().__init__()
        self._report = report

    def append(self, error: CorruptionError) -> None:
        """Add one."""
        super().append(error)
        if self._report is not None:
            self._report(error)

    def extend(self, errors: Iterable[CorruptionError]) -> None:
        """Add several."""
        for error in errors:
            self.append(error)

    def __iadd__(self, errors: Iterable[CorruptionError]) -> Self:  # type: ignore[misc, override]  # as lists do
        self.extend(errors)
        return self


def unreadable(run_id: str, error: OSError) -> CorruptionError:
    """The error for a run whose files can't be read."""
    path = str(error.filename or "its files")
    return CorruptionError(
        f"run {run_id} can't be read: {path}: {error.strerror or error}",
        path=path,
        hint="check the permissions of its folder, and the disk",
    )
