"""The output log: progress bars in their last state, a bound with a mark, nothing lost below it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltrack.launch.ansi import LineFilter
from mltrack.launch.log_file import OutputLog, open_log, read_output, unfinished
from mltrack.launch.log_reader import last_lines


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
def test_the_last_state_of_an_overwritten_line_is_kept(printed: bytes, kept: bytes) -> None:
    assert filtered(printed) == kept


@given(st.lists(st.text("ab\r", max_size=6).map(str.encode), max_size=4), st.integers(0, 12))
def test_chunking_of_the_output_of_progress_bars_makes_no_difference(lines: list[bytes], at: int) -> None:
    text = b"\n".join(b"\r" + line for line in lines)
    assert filtered(text[:at], text[at:]) == filtered(text)


@given(st.lists(st.text("abc\n").map(str.encode)))
def test_output_without_carriage_returns_passes_at_once_and_unchanged(pieces: list[bytes]) -> None:
    lines = LineFilter()
    assert [lines.feed(piece) for piece in pieces] == pieces
    assert lines.end() == b""


def test_a_line_overwritten_for_hours_takes_bounded_memory() -> None:
    lines = LineFilter()
    for _ in range(200):
        assert lines.feed(b"\r" + b"x" * 100_000) == b""
    assert len(lines.end()) <= (1 << 16) + 1


def test_a_log_below_its_limit_is_whole(tmp_path: Path) -> None:
    log = OutputLog(tmp_path / "live", 1000)
    for _ in range(5):
        log.write(b"x" * 100)
    assert b"".join(read_output(tmp_path / "live")) == b"x" * 500
    path = log.finish()
    assert path is not None
    assert path.read_bytes() == b"x" * 500


def test_a_log_above_its_limit_keeps_its_first_half_and_its_end_with_a_mark_between(tmp_path: Path) -> None:
    text = b"".join(b"%05d\n" % number for number in range(1000))  # 6,000 bytes
    log = OutputLog(tmp_path / "live", 2000)
    for at in range(0, len(text), 70):
        log.write(text[at : at + 70])
    path = log.finish()
    assert path is not None
    head, mark, tail = path.read_bytes().partition(b"\n[mltrack: ")
    assert head == text[:1000]
    number, _, tail = tail.partition(b" bytes of output omitted here]\n")
    assert mark
    assert 500 <= len(tail) <= 1000
    assert text.endswith(tail)
    assert int(number.replace(b",", b"")) == len(text) - len(head) - len(tail)


def test_a_log_just_above_its_first_half_loses_nothing_and_has_no_mark(tmp_path: Path) -> None:
    log = OutputLog(tmp_path / "live", 1000)
    log.write(b"0123456789" * 90)
    path = log.finish()
    assert path is not None
    assert path.read_bytes() == b"0123456789" * 90


def test_a_log_continues_where_an_earlier_launch_was_killed(tmp_path: Path) -> None:
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
def test_output_can_be_read_from_any_byte_while_it_grows(tmp_path: Path, start: int) -> None:
    log = OutputLog(tmp_path / "live", 1000)
    text = b"0123456789" * 90
    log.write(text)
    assert b"".join(read_output(tmp_path / "live", start)) == text[start:]


@given(st.lists(st.text("ab\n").map(str.encode)), st.integers(0, 5))
def test_tailing_a_log_gives_its_last_lines(pieces: list[bytes], count: int) -> None:
    assert last_lines(pieces, count) == b"".join(b"".join(pieces).splitlines(keepends=True)[-count:] if count else [])


# --- what a screen would show ---


@pytest.mark.parametrize(
    ("printed", "kept"),
    [
        (b"\x1b[31mred\x1b[0m and \x1b[1;38;5;9mbold\x1b[m\n", b"red and bold\n"),
        (b"\x1b]0;title\x07text \x1b]8;;https://h\x1b\\link\x1b]8;;\x1b\\\n", b"text link\n"),
        (b"\r\x1b[2K 10%\r\x1b[2K100%\n", b"100%\n"),
        (b"\x1b[?25lhidden cursor\x1b[?25h\n", b"hidden cursor\n"),
        # two bars, drawn anew from the row of the first
        (b"start\na 1\nb 1\x1b[1A\r\x1b[2Ka 2\nb 2\x1b[1A\ra 3\nb 3\nend\n", b"start\na 1\nb 1\na 3\nb 3\nend\n"),
        # a line printed above the bars stays
        (b"a 1\nb 1\x1b[1A\rnews\na 2\nb 2\x1b[1A\ra 3\nb 3\n", b"a 1\nb 1\nnews\na 3\nb 3\n"),
    ],
)
def test_colours_are_removed_and_of_redrawn_rows_the_last_state_is_kept(printed: bytes, kept: bytes) -> None:
    assert filtered(printed) == kept


@given(st.integers(0, 60), st.integers(0, 60))
def test_an_escape_sequence_may_be_split(one: int, other: int) -> None:
    text = b"\x1b[1;31mred\x1b[0m\n\x1b]0;title\x07a 1\nb 1\x1b[1A\r\x1b[2Ka 2\nb 2\nend\n"
    first, last = sorted((one, other))
    assert filtered(text[:first], text[first:last], text[last:]) == filtered(text)


@given(st.lists(st.sampled_from([b"\x1b", b"[", b"1", b"A", b"B", b"\r", b"\n", b"x", b"]", b"\x07", b"m"])))
def test_from_any_output_only_text_and_line_breaks_are_kept(pieces: list[bytes]) -> None:
    assert set(filtered(*pieces)) <= set(b"[1AB]mx\n\x07\x1b")


def test_bars_redrawn_for_hours_take_bounded_memory_and_plain_lines_pass_after_them() -> None:
    lines = LineFilter()
    kept = b"".join(lines.feed(b"a %d\nb %d\x1b[1A\r" % (n, n)) for n in range(2000))
    assert len(kept) < 100
    kept = b"".join(lines.feed(b"line %d\n" % n) for n in range(1000))
    assert kept.endswith(b"line 999\n")
    assert lines.end() == b""


# --- several launches, killed ones, full disks ---


def test_the_log_of_another_live_launch_is_left_alone(tmp_path: Path) -> None:
    first = open_log(tmp_path / "live", tmp_path / "artifacts")
    second = open_log(tmp_path / "live", tmp_path / "artifacts")
    first.write(b"one\n")
    second.write(b"two\n")
    assert (first.number, second.number) == (0, 1)
    assert unfinished(tmp_path / "live") == [0, 1]
    paths = [first.finish(), second.finish()]
    assert [path.read_bytes() for path in paths if path] == [b"one\n", b"two\n"]
    first.close()
    third = open_log(tmp_path / "live", tmp_path / "artifacts")
    assert third.number == 0


def test_a_log_continues_where_its_launcher_was_killed_above_the_limit(tmp_path: Path) -> None:
    text = b"".join(b"%05d\n" % number for number in range(500))  # 3,000 bytes
    for first, last in ((0, 400), (400, 450), (450, 500)):
        log = OutputLog(tmp_path / "live", 2000)
        for at in range(first * 6, last * 6, 60):
            log.write(text[at : at + 60])
        log.close()
    path = OutputLog(tmp_path / "live", 2000).finish()
    assert path is not None
    head, mark, tail = path.read_bytes().partition(b"\n[mltrack: at least ")
    assert head == text[:1000]
    assert mark
    assert text.endswith(tail.partition(b"omitted here]\n")[2])
    assert len(tail) > 500


def test_a_log_that_is_continued_repeatedly_stays_within_its_limit(tmp_path: Path) -> None:
    before = tmp_path / "before.txt"
    for _ in range(20):
        log = OutputLog(tmp_path / "live", 1000, before=before)
        log.write(b"x" * 900)
        path = log.finish()
        log.close()
        assert path is not None
        path.rename(before)
    assert before.stat().st_size < 1200


def test_output_that_could_not_be_stored_is_counted_and_marked(tmp_path: Path) -> None:
    log = OutputLog(tmp_path / "live")
    log.write(b"one\n")
    real = log._fd
    log._fd = os.open("/dev/full", os.O_WRONLY)
    log.write(b"lost\n")
    os.close(log._fd)
    log._fd = real
    log.write(b"two\n")
    assert log.lost == 5
    path = log.finish()
    assert path is not None
    assert path.read_bytes() == b"one\n\n[mltrack: 5 bytes lost by now]\ntwo\n"
