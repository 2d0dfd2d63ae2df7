"""Reads HTML as a browser would, and lists what could run, load or lead elsewhere."""

from __future__ import annotations

from html.parser import HTMLParser

__all__ = ["Audit"]

LINKS = {"src", "href", "action", "formaction", "xlink:href", "srcset", "poster", "data"}


class Audit(HTMLParser):
    """What is in a document: ``scripts`` that run, ``data`` in JSON, ``text``, ``tags``, and ``faults``."""

    def __init__(self, document: str, *, links: tuple[str, ...] = ()) -> None:
        """``links`` are addresses that may be linked to."""
        super().__init__(convert_charrefs=True)
        self.scripts: list[str] = []
        self.data: list[str] = []
        self.tags: list[str] = []
        self.faults: list[str] = []
        self.text = ""
        self._links = links
        self._in: list[str] | None = None
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        held = dict(attrs)
        if tag == "script":
            self._in = self.data if held.get("type") == "application/json" else self.scripts
            self._in.append("")
        if tag in ("object", "embed", "link", "base", "form"):
            self.faults.append(f"<{tag}>")
        for name, value in attrs:
            if name.startswith("on") or name == "style":
                self.faults.append(f"{tag} {name}={value!r}")
            if name in LINKS and not (value or "").startswith(("#", "data:image/")) and value not in self._links:
                self.faults.append(f"{tag} {name}={value!r}")

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._in = None

    def handle_data(self, data: str) -> None:
        if self._in is not None:
            self._in[-1] += data
        else:
            self.text += data
