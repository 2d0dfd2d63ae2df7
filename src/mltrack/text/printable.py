r"""Text from outside made safe for a screen: what steers a terminal, or hides or reorders text, is shown escaped.

Names in a store, a server's messages and a program's output may hold anything: an escape sequence that sets a
terminal's title or clears its screen, C1 control characters, characters that change the direction of writing, line
breaks that fake a line, lone surrogates that no encoding takes. ``printable`` shows each of them as Python writes it
(``\x1b``, ``\u202e``, ``\n``) and leaves all other text as it is, in any script; it changes nothing a second time.
"""

from __future__ import annotations

import codecs
import re

__all__ = ["OutputFilter", "printable", "printable_json"]

# control characters; soft hyphen; direction marks; invisible format characters (but not the joiners that scripts and
# emoji need); line and paragraph separators; surrogates; invisible tags
_UNSAFE = (
    "\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U0001d173-\U0001d17a\U000e0000-\U000e007f"
)
_UNSAFE_CHARACTER = re.compile(f"[{_UNSAFE}]")
_UNSAFE_BUT_LINE_FEED = re.compile(f"(?!\n)[{_UNSAFE}]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str, *, lines: bool = False) -> str:
    """``text`` as it may be shown on one line; ``lines`` keeps its line feeds."""
    return (_UNSAFE_BUT_LINE_FEED if lines else _UNSAFE_CHARACTER).sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    return _SHORT.get(character) or (
        f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    )


def printable_json(document: str) -> str:
    """A JSON document with the same content, all such characters except its line feeds written as JSON escapes.

    Lone surrogates, which many readers of JSON refuse, become their escape as text.
    """
    return _UNSAFE_BUT_LINE_FEED.sub(_json_escaped, document)


def _json_escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xD800 <= code <= 0xDFFF:
        return f"\\\\u{code:04x}"
    if code >= 0x10000:
        code -= 0x10000
        return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
    return f"\\u{code:04x}"


class OutputFilter:
    """A program's output, for a terminal: colours and styles pass, every other sequence is shown escaped.

    Line feeds and tabs pass too, and a carriage return that ends a line with its line feed. Pieces may end in the
    middle of a character or a sequence.
    """

    RESET = "\x1b[0m"
    _PASSES = re.compile(r"\x1b\[[0-9;:]{0,64}m|\r\n|[\n\t]")
    _UNFINISHED = re.compile(r"(?:\x1b(?:\[[0-9;:]{0,64})?|\r)\Z")

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._rest = ""
        self._styled = False

    def feed(self, piece: bytes) -> str:
        """The text to show for the next piece."""
        text = self._rest + self._decoder.decode(piece)
        cut = self._UNFINISHED.search(text)
        self._rest = text[cut.start() :] if cut else ""
        return self._shown(text[: cut.start()] if cut else text)

    def close(self) -> str:
        """What was held back as an unfinished sequence, and the end of any style."""
        text = self._shown(self._rest + self._decoder.decode(b"", final=True))
        self._rest = ""
        return text + (self.RESET if self._styled else "")

    def _shown(self, text: str) -> str:
        pieces, at = [], 0
        for match in self._PASSES.finditer(text):
            pieces += [printable(text[at : match.start()]), match[0]]
            self._styled |= match[0].endswith("m")
            at = match.end()
        return "".join([*pieces, printable(text[at:])])
