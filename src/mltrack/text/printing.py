"""The one place where text goes to a person: on standard output and standard error, made safe for a screen.

Tables are pretty in a terminal, and plain, whole and stable in a pipe; JSON is strict. No encoding of the output ends
a command: what it can't take is shown escaped.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import math
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

from mltrack.text.printable import OutputFilter, printable, printable_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import Console
    from rich.text import Text

    Cell = str | Text

__all__ = [
    "Column",
    "Styled",
    "confirm",
    "console",
    "data_stream",
    "has_colours",
    "heading",
    "is_terminal",
    "mute",
    "note",
    "prepare_streams",
    "print_json",
    "print_table",
    "say",
    "say_code",
    "say_fields",
    "show_output",
    "strict",
    "styled",
]


class Styled(NamedTuple):
    """A piece of a line, with its style in a terminal: click's names for colours and styles."""

    text: str
    looks: Mapping[str, Any]


def styled(text: str, **looks: Any) -> Styled:
    """A piece of a line in a style of click's: ``fg="red"``, ``bold=True``, ``dim=True``."""
    return Styled(text, looks)


def say(*pieces: str | Styled, err: bool = False) -> None:
    """Print one line, each piece made safe; ``err`` for messages about the output rather than the output itself."""
    stream = sys.stderr if err else sys.stdout
    pretty = _has_colours(stream)
    stream.write("".join(_drawn(piece, pretty) for piece in pieces) + "\n")
    stream.flush()


def say_code(line: str, **looks: Any) -> None:
    """Print a line of a source file in a style of click's: made safe, its tabs kept."""
    pretty = _has_colours(sys.stdout)
    parts = [_drawn(styled(part, **looks), pretty) if part else "" for part in line.split("\t")]
    sys.stdout.write("\t".join(parts) + "\n")


def say_fields(*fields: str) -> None:
    """Print one line for a program to read: fields with tabs between them, each made safe (so without tabs)."""
    sys.stdout.write("\t".join(map(printable, fields)) + "\n")
    sys.stdout.flush()


def has_colours() -> bool:
    """Whether what goes to standard output is shown with its colours."""
    return _has_colours(sys.stdout)


def _has_colours(stream: Any) -> bool:
    """Whether to style what goes to a stream: NO_COLOR turns it off, as in other programs."""
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR")


def _drawn(piece: str | Styled, pretty: bool) -> str:
    if isinstance(piece, str):
        return printable(piece)
    if not pretty:
        return printable(piece.text)
    import click

    return click.style(printable(piece.text), **piece.looks)


def show_output(pieces: Iterable[bytes]) -> None:
    """Print a program's output: in a terminal made safe, with its colours; in a pipe or a file byte for byte."""
    if not is_terminal():
        for piece in pieces:
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        return
    shown = OutputFilter()
    try:
        for piece in pieces:
            sys.stdout.write(shown.feed(piece))
            sys.stdout.flush()
    finally:
        sys.stdout.write(shown.close())
        sys.stdout.flush()


class _SafeBytes(io.RawIOBase):
    """Bytes of UTF-8 text for a terminal: shown as text, line feeds kept, unsafe characters escaped."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        sys.stdout.write(printable(self._decoder.decode(bytes(data)), lines=True))
        return len(data)

    def flush(self) -> None:
        sys.stdout.flush()


def data_stream() -> BinaryIO:
    """Standard output for CSV and other text files: byte for byte, but made safe in a terminal."""
    sys.stdout.flush()
    return cast("BinaryIO", _SafeBytes()) if is_terminal() else sys.stdout.buffer


def confirm(question: str) -> bool:
    """Ask on standard error; False unless the answer is yes, also where nobody can answer."""
    import click

    try:
        return click.confirm(printable(question), err=True)
    except click.Abort as error:
        if not isinstance(error.__context__, EOFError):
            raise
        say(err=True)  # ends the line of the question
        return False


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading and looks, and what becomes of it in a terminal that is too narrow.

    First texts of columns with ``cut`` are shortened, with an ellipsis; then columns with ``drop`` are left out, those
    of the greatest number first, which a line below says. Numbers (``right``) are never shortened, only headings are.
    """

    title: str
    right: bool = False
    style: str = ""
    cut: bool = False
    wrap: bool = False
    drop: int = 0


def is_terminal() -> bool:
    """Whether the output goes to a terminal rather than to a program or a file."""
    return sys.stdout.isatty()


def console(*, err: bool = False) -> Console:
    """A console for pretty output, whose text is made safe and never read as markup."""
    from rich.console import Console

    class Screen(Console):
        """Rich's own control codes come as separate segments: all other text is data."""

        def render(self, *args: Any, **kwargs: Any) -> Any:
            for part in super().render(*args, **kwargs):
                yield part if part.control else part._replace(text=printable(part.text, lines=True))

    return Screen(stderr=err, highlight=False, soft_wrap=False, markup=False, emoji=False)


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[Cell]], *, headings: bool = True) -> None:
    """Print rows, each with one cell for every column."""
    if is_terminal():
        _print_pretty(columns, rows, headings)
    else:
        _print_plain(columns, rows, headings)


GAP = 2
CUT_MIN = 12
"""The least width, in characters, that texts are shortened to before columns are left out."""
ALIGNED_MAX = 200
"""The greatest width, in characters, of a column in a pipe: a longer text moves what follows in its own line only."""
TITLE_MIN = 8
"""The least width, in characters, of a column of numbers whose heading is longer."""


def _print_pretty(columns: Sequence[Column], rows: Iterable[Sequence[Cell]], headings: bool) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    screen = console()
    titles = [Text(printable(column.title)) for column in columns]
    body = [[Text(printable(cell)) if isinstance(cell, str) else cell for cell in row] for row in rows]
    kept, widths = _fit(columns, [titles, *body], screen.width)
    table = Table(
        box=box.SIMPLE_HEAD if headings else None,
        show_header=headings,
        show_edge=False,
        pad_edge=False,
        border_style="dim",
        padding=(0, GAP - 1 if headings else GAP, 0, 0),
    )
    for at, width in zip(kept, widths, strict=True):
        column, title = columns[at], titles[at]
        title.truncate(width, overflow="ellipsis")
        title.stylize("bold")
        table.add_column(
            title,
            justify="right" if column.right else "left",
            style=column.style or None,
            no_wrap=not column.wrap,
            overflow="fold" if column.wrap else "ellipsis",
        )
        for row in body:
            if not column.wrap:
                row[at].truncate(width, overflow="ellipsis")
    for row in body:
        table.add_row(*(row[at] for at in kept))
    screen.print(table)
    dropped = [column.title or "chart" for at, column in enumerate(columns) if at not in kept]
    if dropped:
        note(f"not shown, as the terminal is narrow: {', '.join(dropped)}")


def _fit(columns: Sequence[Column], lines: Sequence[Sequence[Text]], room: int) -> tuple[list[int], list[int]]:
    """Which columns there is room for, and their widths. The first line has the headings."""
    widest = [max(line[at].cell_len for line in lines) for at in range(len(columns))]
    least = []
    for at, column in enumerate(columns):
        title, body = lines[0][at].cell_len, max([line[at].cell_len for line in lines[1:]], default=0)
        if column.cut and not column.right:
            least.append(min(widest[at], CUT_MIN))
        else:
            least.append(max(body, min(title, TITLE_MIN)) if column.right else widest[at])
    kept = list(range(len(columns)))
    gaps = GAP * (len(columns) - 1)
    while sum(least[at] for at in kept) + gaps > room:
        may_go = [at for at in kept if columns[at].drop]
        if not may_go:
            break
        kept.remove(max(may_go, key=lambda at: (columns[at].drop, at)))
        gaps -= GAP
    may = [columns[at].cut or columns[at].right for at in kept]
    return kept, _cut([widest[at] for at in kept], [least[at] for at in kept], may, room - gaps)


def _cut(widths: Sequence[int], least: Sequence[int], may: Sequence[bool], room: int) -> list[int]:
    """Widths that fit: of the columns that may be cut, the one that is widest over its least is narrowed first."""
    fitted = list(widths)
    while sum(fitted) > room:
        left = [at for at, cut in enumerate(may) if cut and fitted[at] > least[at]]
        if not left:
            break
        fitted[max(left, key=lambda at: fitted[at])] -= 1
    return fitted


def _print_plain(columns: Sequence[Column], rows: Iterable[Sequence[Cell]], headings: bool) -> None:
    """Cells in full, two spaces apart, aligned as far as ALIGNED_MAX; no colours, no lines."""
    from rich.cells import cell_len

    lines = [[printable(column.title) for column in columns]] if headings else []
    lines += [[printable(str(cell)) for cell in row] for row in rows]
    sizes = [[min(cell_len(line[at]), ALIGNED_MAX) for line in lines] for at in range(len(columns))]
    widths = [max(column, default=0) for column in sizes]
    for line in lines:
        cells = []
        for column, width, cell in zip(columns, widths, line, strict=True):
            pad = " " * (width - cell_len(cell))
            cells.append(pad + cell if column.right else cell + pad)
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def heading(text: str) -> None:
    """A line above a part of the output."""
    say(styled(text, bold=True))


def note(text: str, *, style: str = "dim") -> None:
    """Print a line about the output: on stderr, so that it is not taken for data."""
    say(styled(text, dim=True) if style == "dim" else styled(text, fg=style), err=True)


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
    text = json.dumps(
        strict(value), ensure_ascii=not _takes_all(sys.stdout), indent=None if line else 2, allow_nan=False
    )
    sys.stdout.write(printable_json(text) + "\n")
    sys.stdout.flush()


# --- the streams -----------------------------------------------------------------------------------------------


def _takes_all(stream: Any) -> bool:
    """Whether the stream's encoding has every character."""
    try:
        return codecs.lookup(stream.encoding).name.startswith("utf")
    except (AttributeError, LookupError, TypeError):
        return True  # text that is kept in memory


# our own symbols where the terminal's encoding does not have them: one character each, so that columns stay straight
_PLAIN_CHARACTERS = dict(zip("…└●✓─━╸╺│┤╰▁▂▃▄▅▆▇█", "~`*+----||+_.,-=+*#", strict=True))
_PLAIN_OR_ESCAPED = "mltrack-plain"


def _plain_characters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain_character, error.object[error.start : error.end])), error.end


def _plain_character(character: str) -> str:
    if 0x2800 <= ord(character) <= 0x28FF:  # dots of a chart
        return " .:"[min((ord(character) - 0x2800).bit_count(), 2)]
    return _PLAIN_CHARACTERS.get(character) or character.encode("ascii", "backslashreplace").decode()


codecs.register_error(_PLAIN_OR_ESCAPED, _plain_characters)


def prepare_streams() -> None:
    """Make standard output and error take any character, and open streams that are closed on the null device.

    Otherwise a file of the store could get the descriptor of a closed stream.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
        elif number and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_PLAIN_OR_ESCAPED if stream.isatty() else "backslashreplace")


def mute(stream: Any) -> None:
    """Discard what is still written to a stream, so that Python's own flush at exit does not complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(OSError, ValueError):  # not a file
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
