"""The README as package indexes show it: there, links to files of the repository lead nowhere unless they are absolute.

They become absolute below ``Source`` of ``[project.urls]`` in pyproject.toml, and text with the name of the file as
long as there is none.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"\[([^\]]*)\]\((?![a-z]+:|#)([^)\s]+)\)")


def for_index(text: str, source: str) -> str:
    """The text with absolute links, or none, to files of the repository at ``source``."""
    if not source:
        return _LINK.sub(lambda found: found[1] if found[2] in found[1] else f"{found[1]} (`{found[2]}`)", text)
    return _LINK.sub(lambda found: f"[{found[1]}]({source.rstrip('/')}/blob/HEAD/{found[2]})", text)


class LongDescription(MetadataHookInterface):
    """Gives the package's metadata the README."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add ``readme``."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        source = metadata.get("urls", {}).get("Source", "")
        metadata["readme"] = {"content-type": "text/markdown", "text": for_index(text, source)}
