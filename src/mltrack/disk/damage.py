"""What could not be read or verified: a list that also tells whoever wants to know at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.errors import CorruptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

__all__ = ["Damage", "unreadable"]


class Damage(list[CorruptionError]):
    """Damage that was met. ``tell`` is called with each piece as it is added."""

    def __init__(self, tell: Callable[[CorruptionError], None] | None = None) -> None:
        super().__init__()
        self._tell = tell

    def append(self, error: CorruptionError) -> None:
        """Add one."""
        super().append(error)
        if self._tell is not None:
            self._tell(error)

    def extend(self, errors: Iterable[CorruptionError]) -> None:
        """Add several."""
        for error in errors:
            self.append(error)

    def __iadd__(self, errors: Iterable[CorruptionError]) -> Self:  # type: ignore[misc, override]  # as lists do
        self.extend(errors)
        return self


def unreadable(run_id: str, error: OSError) -> CorruptionError:
    """What tells that a run's files can't be read."""
    path = str(error.filename or "its files")
    return CorruptionError(
        f"run {run_id} can't be read: {path}: {error.strerror or error}",
        path=path,
        hint="check the permissions of its folder, and the disk",
    )
