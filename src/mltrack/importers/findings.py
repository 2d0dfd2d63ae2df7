"""What of a source could not be read, and what is left out: by place, each once, none without a name.

A source may name any file of this machine, by an address or by a link. Only what lies in the source is its own; the
rest may be anybody's, and would go where the store is synced to. So it is left out unless the user names its folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Findings"]

NAMED_MAX = 1_000
"""So many problems are named; further ones are counted."""


@dataclass(slots=True)
class Findings:
    """Collects them. The same said twice counts once, as parts of a source may be read several times.

    ``named`` are the folders outside of the source from which the user takes files.
    """

    named: tuple[Path, ...] = ()
    _own: list[Path] = field(default_factory=list)
    _outside: dict[Path, None] = field(default_factory=dict)
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

    def reads(self, source: Path, near: Iterable[Path] = (), *, with_folder: bool = False) -> None:
        """The source, a folder or a file, has its files in it and in ``near``, unless these are links.

        ``with_folder``: where it is a file, also in the folder that it is in. Until this is called nothing is outside.
        """
        if with_folder and source.is_file():
            self._own.append(source.parent.resolve())
        self._own += [source.resolve(), *(folder.resolve() for folder in self.named)]
        self._own += [folder.parent.resolve() / folder.name for folder in near]

    def is_outside(self, path: Path) -> bool:
        """Whether something that exists belongs neither to the source nor to what the user named; it is left out then.

        Links are followed.
        """
        if not self._own:
            return False
        try:
            real = path.resolve()
        except (OSError, RuntimeError):  # links in a circle
            real = path
        if any(real.is_relative_to(folder) for folder in self._own):
            return False
        self._outside[real] = None
        return True

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be read, in the order in which it was met."""
        more = (f"{self._unnamed:,} further problems",) if self._unnamed else ()
        return (*self._problems, *more)

    @property
    def omissions(self) -> tuple[str, ...]:
        """What was left out, with its number."""
        found = [f"{what}: {count:,}" if count else what for what, count in sorted(self._left_out.items())]
        if self._outside:
            first = next(iter(self._outside))
            words = f"outside of the source, such as {str(first)!r}, which --artifacts-from FOLDER brings"
            found.append(f"files and folders {words}: {len(self._outside):,}")
        return tuple(found)
