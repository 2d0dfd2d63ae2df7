"""Metric files of MLflow's folder, line by line: every form, and every way in which a line may be torn."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltrack.importers.findings import Findings
from mltrack.importers.mlflow.metric_lines import read_metric_file

AT = 1_700_000_000_000


def read(path: Path, text: bytes) -> tuple[list[tuple[int, int, float]], tuple[str, ...]]:
    """Points as (step, ms, value), and what was named."""
    path.write_bytes(text)
    findings = Findings()
    points: list[tuple[int, int, float]] = []
    for lines in read_metric_file(path, "loss", findings):
        times = (lines.times // 1_000_000).tolist()
        points += zip(lines.steps.tolist(), times, lines.values.tolist(), strict=True)
    return points, findings.problems


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "loss"


def test_a_line_of_two_fields_is_step_zero_with_its_time_in_seconds(path: Path) -> None:
    assert read(path, b"1700000000 0.5\n1700000001 0.25\n") == ([(0, AT, 0.5), (0, AT + 1000, 0.25)], ())


def test_a_file_that_was_begun_by_an_old_version_may_go_on_with_steps(path: Path) -> None:
    points, problems = read(path, f"1700000000 0.5\n{AT} 0.25 1\n{AT} 0.125 2 data d1\n".encode())
    assert (points, problems) == ([(0, AT, 0.5), (1, AT, 0.25), (2, AT, 0.125)], ())


def test_an_empty_file_and_empty_lines_are_nothing(path: Path) -> None:
    assert read(path, b"") == ([], ())
    assert read(path, f"\n{AT} 1.0 1\n\n".encode()) == ([(1, AT, 1.0)], ())


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "-0.0", "1e-300", "1.7976931348623157e+308", "5e-324"])
def test_every_number_is_read_as_it_was_written(path: Path, text: str) -> None:
    ((_, _, value),), problems = read(path, f"{AT} {text} 1\n".encode())
    assert problems == ()
    assert repr(value) == repr(float(text))
    assert math.copysign(1, value) == math.copysign(1, float(text)) or math.isnan(value)


LINES = [f"{AT + step} {step / 7!r} {step}" for step in range(100)]


@pytest.mark.parametrize(
    ("torn", "number"),
    [
        ("", 0),
        ("17000", 51),
        (f"{AT} ", 51),
        (f"{AT} 0.5", 51),  # without its step it would be another point
        (f"{AT} 0.5 ", 51),
        (f"{AT} 0,5 7", 51),
        (f"{AT} 0.5 7.5", 51),
        (f"{AT} 0.5 7{AT} 0.25 8", 51),  # two lines, the first of which was not ended
        (f"{'9' * 30} 0.5 7", 51),
        ("\x00" * 40, 51),
    ],
)
def test_a_torn_line_in_the_middle_is_named_and_costs_only_itself(path: Path, torn: str, number: int) -> None:
    lines = [*LINES[:50], torn, *LINES[50:]]
    points, problems = read(path, "".join(f"{line}\n" for line in lines).encode())
    assert points == [(step, AT + step, step / 7) for step in range(100)]
    assert len(problems) == (1 if number else 0)
    assert all(problem.startswith(f"loss: line {number} is torn") for problem in problems)


def test_a_last_line_without_its_end_is_torn_wherever_it_was_cut(path: Path) -> None:
    last = f"{AT} 0.123456 41\n"
    for cut in range(1, len(last) - 1):
        points, problems = read(path, f"{AT} 0.5 40\n{last[:cut]}".encode())
        assert points == [(40, AT, 0.5)], cut
        assert len(problems) == 1, cut


@given(
    st.lists(
        st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(-(10**12), 9 * 10**12), st.floats(allow_nan=False)),
        min_size=1,
        max_size=30,
    )
)
def test_whatever_mlflow_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, points: list[tuple[int, int, float]]
) -> None:
    text = "".join(f"{time} {value} {step}\n" for step, time, value in points)
    found = read(tmp_path_factory.getbasetemp() / "one", text.encode())
    assert found == (points, ())
