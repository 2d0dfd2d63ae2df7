"""Printing: tables that are pretty in a terminal and plain, whole and stable in a pipe; JSON that is strict."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console
    from rich.text import Text

    Cell = str | Text

__all__ = ["Column", "console", "heading", "is_terminal", "note", "one_line", "print_json", "print_table", "strict"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading, on which side its cells stand, its style, and whether a narrow terminal cuts or wraps it."""

    title: str
    right: bool = False
    style: str = ""
    cut: bool = False
    wrap: bool = False


def is_terminal() -> bool:
    """Whether people look at the output, rather than a program."""
    return sys.stdout.isatty()


def console() -> Console:
    """Where the pretty output goes."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=False)


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[Cell]], *, headings: bool = True) -> None:
    """Print rows of as many cells as there are columns."""
    if is_terminal():
        _print_pretty(columns, rows, headings)
    else:
        _print_plain(columns, rows, headings)


GAP = 2
CUT_MIN = 6
"""How narrow a column may be cut."""


def _print_pretty(columns: Sequence[Column], rows: Iterable[Sequence[Cell]], headings: bool) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    screen = console()
    body = [[Text(one_line(cell)) if isinstance(cell, str) else cell for cell in row] for row in rows]
    table = Table(
        box=box.SIMPLE_HEAD if headings else None,
        show_header=headings,
        show_edge=False,
        pad_edge=False,
        border_style="dim",
        padding=(0, GAP - 1 if headings else GAP, 0, 0),
    )
    for column in columns:
        table.add_column(
            Text(column.title, style="bold"),
            justify="right" if column.right else "left",
            style=column.style or None,
            no_wrap=not column.wrap,
            overflow="fold",
        )
    widths = [max([len(column.title), *(row[at].cell_len for row in body)]) for at, column in enumerate(columns)]
    room = screen.width - GAP * (len(columns) - 1)
    for at, width in enumerate(_cut(widths, [column.cut for column in columns], room)):
        for row in body:
            row[at].truncate(width, overflow="ellipsis")
    for row in body:
        table.add_row(*row)
    screen.print(table)


def _cut(widths: Sequence[int], may: Sequence[bool], room: int) -> list[int]:
    """Widths that fit, the widest of the columns that may be cut narrowed first."""
    fitted = list(widths)
    while sum(fitted) > room:
        at = max((at for at, cut in enumerate(may) if cut), key=lambda at: fitted[at], default=None)
        if at is None or fitted[at] <= CUT_MIN:
            return fitted
        fitted[at] -= 1
    return fitted


def _print_plain(columns: Sequence[Column], rows: Iterable[Sequence[Cell]], headings: bool) -> None:
    """Cells in full, two spaces apart, aligned; no colours, no lines."""
    from rich.cells import cell_len

    lines = [[column.title for column in columns]] if headings else []
    lines += [[one_line(str(cell)) for cell in row] for row in rows]
    widths = [max((cell_len(line[at]) for line in lines), default=0) for at in range(len(columns))]
    for line in lines:
        cells = []
        for column, width, cell in zip(columns, widths, line, strict=True):
            pad = " " * (width - cell_len(cell))
            cells.append(pad + cell if column.right else cell + pad)
        print("  ".join(cells).rstrip())


def one_line(text: str) -> str:
    """Text as it can be shown on a line, without the characters that steer a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _shown(c) for c in text)


def _shown(sign: str) -> str:
    return {"\n": "⏎", "\t": " "}.get(sign, "�")


def heading(text: str) -> None:
    """A line above a part of the output."""
    if is_terminal():
        from rich.text import Text

        console().print(Text(text, style="bold"))
    else:
        print(text)


def note(text: str, *, style: str = "dim") -> None:
    """A line about what was printed: on stderr, so that it is not taken for data."""
    import click

    click.echo(click.style(text, dim=style == "dim", fg=None if style == "dim" else style), err=True)


def strict(value: Any) -> Any:
    """``value`` as JSON can hold it: NaN and infinities become "NaN", "Infinity", "-Infinity", as in MLflow's REST."""
    match value:
        case float() if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case dict():
            return {str(key): strict(item) for key, item in value.items()}
        case list() | tuple():
            return [strict(item) for item in value]
        case None | bool() | int() | float() | str():
            return value
        case bytes():
            return value.hex()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def print_json(value: Any, *, line: bool = False) -> None:
    """Print one JSON document; ``line`` puts it on one line."""
    text = json.dumps(strict(value), ensure_ascii=False, indent=None if line else 2, allow_nan=False)
    print(text.encode("utf-8", "replace").decode())
