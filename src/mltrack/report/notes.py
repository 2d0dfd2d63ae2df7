"""Notes in Markdown: as HTML in which no tag of theirs is one, and nothing is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.drawing.markup import Html
from mltrack.text.printable import printable

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence
    from typing import Any

    from markdown_it.renderer import RendererHTML
    from markdown_it.token import Token

__all__ = ["notes_html"]


def notes_html(text: str) -> Html:
    """Markdown (CommonMark and tables) as HTML: raw HTML is shown as text, images are not loaded, links are plain."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    parser.add_render_rule("link_open", _link)
    for rule in ("heading_open", "heading_close"):
        parser.add_render_rule(rule, _heading)
    shown = printable(text.replace("\r\n", "\n").replace("\t", "    "), lines=True)
    return Html(parser.render(shown))


def _link(renderer: RendererHTML, tokens: Sequence[Token], at: int, options: Any, _: MutableMapping[str, Any]) -> str:
    tokens[at].attrSet("rel", "noopener noreferrer nofollow")
    return renderer.renderToken(tokens, at, options, {})


def _heading(
    renderer: RendererHTML, tokens: Sequence[Token], at: int, options: Any, _: MutableMapping[str, Any]
) -> str:
    """Headings one level lower: the page's title is the only one of the first."""
    tokens[at].tag = f"h{min(6, int(tokens[at].tag[1:]) + 1)}"
    return renderer.renderToken(tokens, at, options, {})
