"""Text made safe for a screen, and what a program printed, piece by piece."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltrack.errors import MltrackError
from mltrack.text.printable import OutputFilter, printable, printable_json

ANY_TEXT = st.text(st.characters(exclude_categories=()))
STEERS = ("\x1b", "\x07", "\x9b", "\x9d", "\x7f", "\r", "\x08", "\u202e", "\u2066", "\u2028", "\ud800", "\U000e0041")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("E\x1b]0;title\x07\x1b[2J", "E\\x1b]0;title\\x07\\x1b[2J"),
        ("two\nlines\tand a tab\r", "two\\nlines\\tand a tab\\r"),
        ("\x9b2J", "\\x9b2J"),
        ("abc\u202edef", "abc\\u202edef"),
        ("\udcff", "\\udcff"),
        ("\U000e0041", "\\U000e0041"),
        ("模型 é नमस्\u200dते 👩\u200d💻 می\u200cخواهم a\u00a0b", "模型 é नमस्\u200dते 👩\u200d💻 می\u200cخواهم a\u00a0b"),
    ],
)
def test_control_characters_are_escaped_and_other_text_is_unchanged(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_every_control_surrogate_separator_and_direction_character_is_escaped() -> None:
    for code in range(sys.maxunicode + 1):
        sign = chr(code)
        steers = unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(sign) in (
            "LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI",
        )  # fmt: skip
        if steers:
            assert printable(sign).isascii() and printable(sign).isprintable(), hex(code)


@given(ANY_TEXT)
def test_escaping_twice_changes_nothing_and_every_unicode_encoding_accepts_the_result(text: str) -> None:
    once = printable(text)
    assert printable(once) == once
    assert once.encode("utf-8").decode() == once
    assert not set(STEERS) & set(once)


@given(st.lists(ANY_TEXT))
def test_line_feeds_stay_where_they_are_wanted(lines: list[str]) -> None:
    text = "\n".join(lines)
    assert printable(text, lines=True) == "\n".join(map(printable, text.split("\n")))


@given(st.text())
def test_json_made_safe_has_the_same_content(text: str) -> None:
    document = printable_json(json.dumps({"key": text, text: 1}, ensure_ascii=False, indent=2))
    assert json.loads(document) == {"key": text, text: 1}
    assert not set(STEERS) & set(document)


def test_a_lone_surrogate_in_json_is_replaced_by_its_escape() -> None:
    assert json.loads(printable_json(json.dumps("a\udc80", ensure_ascii=False))) == "a\\udc80"


def test_an_error_names_things_without_controlling_the_terminal() -> None:
    error = MltrackError("no run 'x\x1b[2J'\nsecond line", hint="see \x9b0m")
    assert str(error) == "no run 'x\\x1b[2J'\nsecond line"
    assert error.hint == "see \\x9b0m"


PRINTED = "\x1b[32mgreen\x1b[0m\tä\r\n\x1b]0;title\x07\x1b[2Jover\rdrawn\n\x1b["


def test_of_what_a_program_printed_colours_pass_and_other_sequences_are_shown() -> None:
    shown = OutputFilter()
    text = shown.feed(PRINTED.encode()) + shown.close()
    assert text == ("\x1b[32mgreen\x1b[0m\tä\r\n\\x1b]0;title\\x07\\x1b[2Jover\\rdrawn\n\\x1b[" + OutputFilter.RESET)


def test_output_without_colours_ends_without_a_reset_and_undecodable_bytes_are_shown() -> None:
    shown = OutputFilter()
    assert shown.feed(b"caf\xe9 \x9b2J\n") + shown.close() == "caf\\xe9 \\x9b2J\n"


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_pieces_may_end_within_a_sign_or_a_sequence(size: int) -> None:
    whole, pieces, data = OutputFilter(), OutputFilter(), PRINTED.encode()
    expected = whole.feed(data) + whole.close()
    assert "".join(pieces.feed(data[at : at + size]) for at in range(0, len(data), size)) + pieces.close() == expected


@given(st.binary(), st.integers(0, 20))
def test_nothing_but_colours_passes_however_it_is_cut(data: bytes, at: int) -> None:
    shown = OutputFilter()
    text = shown.feed(data[:at]) + shown.feed(data[at:]) + shown.close()
    rest = OutputFilter._PASSES.sub("", text)
    assert printable(rest) == rest
