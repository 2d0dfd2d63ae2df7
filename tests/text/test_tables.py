"""Tables in terminals of any width: no number is cut, no line too long, and nothing missing without a word."""

from __future__ import annotations

import json
import re

from tests.support.terminal import bytes_in_terminal

PRINTED = """
import os, sys
from mltrack.text.printing import Column, print_table

columns = [
    Column("id"),
    Column("name", cut=True),
    Column("status", drop=1),
    Column("a/very/long/name/of/a/metric", right=True, cut=True, drop=2),
    Column("points", right=True, drop=3),
    Column("note", cut=True, drop=4),
]
rows = [
    ["1a971957", "a-run-with-a-long-name", "FINISHED", "0.00022423", "1,234,567", "text " * 9],
    ["046b7171", "short", "CRASHED", "-1.2e-05", "8", ""],
]
for width in range(24, 160, 4):
    os.environ["COLUMNS"] = str(width)
    print("###", width)
    sys.stdout.flush()
    print_table(columns, rows)
"""

NUMBERS = ("0.00022423", "-1.2e-05", "1,234,567")
HEADS = {"status": "st", "a/very/long/name/of/a/metric": "a/", "points": "po", "note": "no"}


def screens() -> dict[int, str]:
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", bytes_in_terminal(["-c", PRINTED]).decode()).replace("\r", "")
    parts = re.split(r"^### (\d+)\n", shown, flags=re.MULTILINE)[1:]
    return {int(width): text for width, text in zip(parts[::2], parts[1::2], strict=True)}


def test_a_table_fits_and_cuts_texts_with_an_ellipsis_but_never_a_number() -> None:
    found = screens()
    assert len(found) == 34
    for width, text in found.items():
        lines = text.splitlines()
        named = [line for line in lines if line.startswith("not shown")]
        table = [line for line in lines if line not in named]
        assert max(map(len, table)) <= width, text
        left_out = named[0].partition(": ")[2].split(", ") if named else []
        for title, start in HEADS.items():
            assert (title in left_out) != (f" {start}" in table[0]), json.dumps([width, title, text])
        for number in NUMBERS[:2]:
            assert ("a/very/long/name/of/a/metric" in left_out) != (number in text), text
        assert ("points" in left_out) != (NUMBERS[2] in text), text
        assert "1a971957" in text
        assert "a-run-with-a-long-name" in text or "…" in text
    assert "not shown" not in found[156]
    assert "not shown" in found[40]


def test_without_colours_nothing_is_styled() -> None:
    program = "from mltrack.text.printing import Column, note, print_table, say, styled\n"
    program += "say(styled('red', fg='red')); note('dim'); print_table([Column('id', style='cyan')], [['1']])"
    assert b"\x1b[3" in bytes_in_terminal(["-c", program])
    plain = bytes_in_terminal(["-c", program], NO_COLOR="1")
    assert b"red" in plain and not re.search(rb"\x1b\[[0-9;]*3[0-7]", plain)
