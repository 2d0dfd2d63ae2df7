"""HTML that is escaped by construction: text becomes part of a document only through ``element``."""

from __future__ import annotations

import html
import json
from typing import TYPE_CHECKING, Any

from mltrack.text.printable import printable
from mltrack.text.printing import strict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Html", "element", "escaped", "join", "json_block", "table"]

_VOID = {"br", "col", "hr", "img", "input", "meta"}


class Html(str):
    """Text that is HTML already, and may stand in a document as it is."""

    __slots__ = ()


def escaped(text: str) -> Html:
    """Any text as HTML that shows it: markup is inert, what hides or reorders text is shown escaped."""
    return text if isinstance(text, Html) else Html(html.escape(printable(text, lines=True)))


def element(name: str, /, *children: str, **attributes: str | float | bool | None) -> Html:
    """An element with its attributes and children, all of them escaped unless they are ``Html``.

    ``class_="a"`` gives ``class``, ``data_key`` gives ``data-key``; True gives a bare name, None and False nothing.
    """
    parts = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        given = key.rstrip("_").replace("_", "-")
        parts.append(given if value is True else f'{given}="{html.escape(printable(str(value), lines=True))}"')
    head = f"<{' '.join(parts)}>"
    if name in _VOID:
        return Html(head)
    return Html(f"{head}{''.join(map(escaped, children))}</{name}>")


def join(parts: Iterable[str]) -> Html:
    """Several pieces after each other, each escaped unless it is ``Html``."""
    return Html("".join(map(escaped, parts)))


def json_block(id_: str, value: Any) -> Html:
    """A value for the page's script: JSON that no browser runs, and that can't end its own element."""
    text = json.dumps(strict(value), separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Html(f'<script type="application/json" id="{html.escape(id_)}">{text}</script>')


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str = "", numbers: bool = False) -> Html:
    """A table whose first column names the rows; ``numbers`` aligns the others to the right."""
    looks = "number" if numbers else None
    head = [
        element("th", title, scope="col", class_=looks if at and title else None) for at, title in enumerate(headings)
    ]
    body = []
    for first, *others in rows:
        cells = [element("td", cell, class_=looks) for cell in others]
        body.append(element("tr", element("th", first, scope="row"), *cells))
    parts = [element("caption", caption)] if caption else []
    return element("table", *parts, element("thead", element("tr", *head)), element("tbody", *body))
