"""What of a source could not be read, and what has no place in a store: by place, each once, none without a name."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Findings"]

NAMED_MAX = 1_000
"""So many problems are named; further ones are counted."""


@dataclass(slots=True)
class Findings:
    """Collects them. The same said twice counts once, as parts of a source may be read several times."""

    _problems: dict[str, None] = field(default_factory=dict)
    _left_out: dict[str, int] = field(default_factory=dict)
    _unnamed: int = 0

    def problem(self, where: str, words: str) -> None:
        """Something could not be read: a file, a line. The next import tries it again."""
        text = f"{where}: {words}"
        if text in self._problems:
            return
        if len(self._problems) < NAMED_MAX:
            self._problems[text] = None
        else:
            self._unnamed += 1

    def left_out(self, what: str, count: int = 0) -> None:
        """Things of a sort were read and have no place in a store: say their whole number, or name the only one."""
        self._left_out[what] = count

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be read, in the order in which it was met."""
        more = (f"{self._unnamed:,} further problems",) if self._unnamed else ()
        return (*self._problems, *more)

    @property
    def omissions(self) -> tuple[str, ...]:
        """What was left out, with its number."""
        return tuple(f"{what}: {count:,}" if count else what for what, count in sorted(self._left_out.items()))
