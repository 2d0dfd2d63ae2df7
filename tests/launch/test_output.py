"""The output log: progress bars in their last state, a bound with a mark, nothing lost below it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltrack.launch.lines import LineFilter
from mltrack.launch.output import OutputLog, read_output
from mltrack.launch.reading import last_lines


def filtered(*pieces: bytes) -> bytes:
    lines = LineFilter()
    return b"".join(map(lines.feed, pieces)) + lines.end()


@pytest.mark.parametrize(
    ("printed", "kept"),
    [
        (b"plain\ntext", b"plain\ntext"),
        (b"windows\r\nlines\r\n", b"windows\nlines\n"),
        (b"\r 10%\r 50%\r100%\nnext\n", b"100%\nnext\n"),
        (b"10%\r50%\r100%\r\n", b"100%\n"),
        (b"10%\r50%\r", b"50%\n"),
        (b"a\n10%\r50%\nb", b"a\n50%\nb"),
        (b"\r\n\r\n", b"\n\n"),
    ],
)
def test_of_an_overwritten_line_the_last_state_is_kept(printed: bytes, kept: bytes) -> None:
    assert filtered(printed) == kept


@given(st.lists(st.text("ab\r", max_size=6).map(str.encode), max_size=4), st.integers(0, 12))
def test_where_the_output_of_progress_bars_is_cut_into_pieces_makes_no_difference(lines: list[bytes], at: int) -> None:
    text = b"\n".join(b"\r" + line for line in lines)
    assert filtered(text[:at], text[at:]) == filtered(text)


@given(st.lists(st.text("abc\n").map(str.encode)))
def test_output_without_carriage_returns_passes_at_once_and_unchanged(pieces: list[bytes]) -> None:
    lines = LineFilter()
    assert [lines.feed(piece) for piece in pieces] == pieces
    assert lines.end() == b""


def test_a_line_that_is_overwritten_for_hours_takes_no_more_than_a_bounded_memory() -> None:
    lines = LineFilter()
    for _ in range(200):
        assert lines.feed(b"\r" + b"x" * 100_000) == b""
    assert len(lines.end()) <= (1 << 16) + 1


def test_a_log_below_its_bound_is_whole(tmp_path: Path) -> None:
    log = OutputLog(tmp_path / "live", 1000)
    for _ in range(5):
        log.write(b"x" * 100)
    assert b"".join(read_output(tmp_path / "live")) == b"x" * 500
    path = log.finish()
    assert path is not None
    assert path.read_bytes() == b"x" * 500


def test_a_log_beyond_its_bound_keeps_its_first_half_and_its_end_with_a_mark_between(tmp_path: Path) -> None:
    text = b"".join(b"%05d\n" % number for number in range(1000))  # 6,000 bytes
    log = OutputLog(tmp_path / "live", 2000)
    for at in range(0, len(text), 70):
        log.write(text[at : at + 70])
    path = log.finish()
    assert path is not None
    head, mark, tail = path.read_bytes().partition(b"\n[mltrack: ")
    assert head == text[:1000]
    number, _, tail = tail.partition(b" bytes of output left out here]\n")
    assert mark
    assert 500 <= len(tail) <= 1000
    assert text.endswith(tail)
    assert int(number.replace(b",", b"")) == len(text) - len(head) - len(tail)


def test_a_log_just_beyond_its_first_half_loses_nothing_and_has_no_mark(tmp_path: Path) -> None:
    log = OutputLog(tmp_path / "live", 1000)
    log.write(b"0123456789" * 90)
    path = log.finish()
    assert path is not None
    assert path.read_bytes() == b"0123456789" * 90


def test_a_log_goes_on_where_an_earlier_launch_was_killed(tmp_path: Path) -> None:
    killed = OutputLog(tmp_path / "live")
    killed.write(b"first\n")
    killed.close()
    log = OutputLog(tmp_path / "live")
    log.write(b"second\n")
    path = log.finish()
    assert path is not None
    assert path.read_bytes() == b"first\nsecond\n"


def test_a_program_without_output_leaves_no_log(tmp_path: Path) -> None:
    assert OutputLog(tmp_path / "live").finish() is None


@pytest.mark.parametrize("start", [0, 1, 499, 500, 501, 900, 2000])
def test_output_is_read_from_any_byte_on_while_it_grows(tmp_path: Path, start: int) -> None:
    log = OutputLog(tmp_path / "live", 1000)
    text = b"0123456789" * 90
    log.write(text)
    assert b"".join(read_output(tmp_path / "live", start)) == text[start:]


@given(st.lists(st.text("ab\n").map(str.encode)), st.integers(0, 5))
def test_the_last_lines_are_the_last_lines(pieces: list[bytes], count: int) -> None:
    assert last_lines(pieces, count) == b"".join(b"".join(pieces).splitlines(keepends=True)[-count:] if count else [])
