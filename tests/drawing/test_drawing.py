"""HTML that is escaped by construction, curves that keep their peaks, colours that stay with their runs."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from mltrack.drawing.colours import DARK, DASHES, LIGHT, look_of, looks_of
from mltrack.drawing.curves import Chart, curve_of, packed_chart
from mltrack.drawing.markup import element, escaped, join, json_block, table
from mltrack.drawing.sparkline import svg_sparkline
from tests.support.evil import EVIL
from tests.support.html_audit import Audit


def test_text_in_an_element_is_text_and_its_attributes_are_theirs() -> None:
    made = element("p", EVIL, element("b", EVIL), title=EVIL, data_key=EVIL, hidden=True, class_=None)
    found = Audit(made)
    assert found.tags == ["p", "b"]
    assert found.faults == []
    shown = EVIL.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
    assert found.text == shown * 2


def test_html_is_escaped_once() -> None:
    assert escaped(escaped("<")) == "&lt;"
    assert join(["<", element("br")]) == "&lt;<br>"


def test_a_table_has_headings_of_columns_and_of_rows() -> None:
    made = table(["run", EVIL], [["a", EVIL]], numbers=True)
    assert Audit(made).tags == ["table", "thead", "tr", "th", "th", "tbody", "tr", "th", "td"]
    assert '<th scope="row">a</th><td class="number">' in made


def test_json_for_a_script_cannot_end_its_element() -> None:
    value = {EVIL: [EVIL, float("nan")]}
    block = json_block("data", value)
    found = Audit(block)
    assert found.tags == ["script"]
    assert json.loads(found.data[0]) == {EVIL: [EVIL, "NaN"]}


@pytest.mark.parametrize("count", [0, 1, 10, 5_000])
def test_a_curve_is_in_the_order_of_steps_and_keeps_its_peaks(count: int) -> None:
    steps = np.arange(count)[::-1].astype(np.int64)
    values = np.sin(steps / 50)
    values[count // 3 : count // 3 + 1] = 1e6
    curve = curve_of("r", "run", 0, (steps, steps * 10**9, values), points_max=100)
    assert (np.diff(curve.steps) > 0).all()
    assert len(curve.steps) <= 100
    assert curve.count == count
    assert curve.even.sum() == min(count, 52)
    assert curve.even.all() == (count <= 100)
    assert np.array_equal(curve.seconds, curve.steps - (0 if not count else curve.steps.min()))
    assert count == 0 or curve.values.max() == 1e6


def unpacked(text: str) -> list[float]:
    kind = {"i": "<i4", "f": "<f4", "d": "<f8"}[text[0]]
    found: list[float] = np.frombuffer(base64.b64decode(text[1:]), kind).tolist()
    return found


@pytest.mark.parametrize(
    "values",
    [[0.5, -2.0, 0.0], [1e300, 1.0], [1e-300, 0.0], [1e6 + 0.125, 1e6], [float("inf"), 1.0], [3.0] * 3, []],
)
def test_packed_values_are_within_six_digits_of_their_range(values: list[float]) -> None:
    array = np.array(values, float)
    steps = np.arange(len(values)) + 2**40
    packed = packed_chart(Chart("loss", (curve_of("r", "run", 3, (steps, steps, array), points_max=10),)))
    (curve,) = packed["curves"]
    finite = array[np.isfinite(array)]
    spread = (float(np.ptp(finite)) if len(finite) else 0.0) or 1.0
    assert np.allclose(unpacked(curve["values"]), values, rtol=0, atol=spread * 1e-6)
    assert unpacked(curve["steps"]) == steps.tolist()


def test_a_run_keeps_its_colour_and_no_two_of_fifty_runs_look_alike() -> None:
    ids = [f"{number:032x}" for number in range(50)]
    looks = looks_of(ids)
    assert looks == looks_of(reversed(ids))
    assert len({look_of(look, LIGHT) for look in looks.values()}) == 50
    few = looks_of(ids[:8])
    assert {look_of(look, LIGHT)[1] for look in few.values()} == {()}
    assert looks_of(ids[:1])[ids[0]] == few[ids[0]]


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("colours", "paper"), [(LIGHT, "#ffffff"), (DARK, "#14171a")])
def test_every_colour_has_the_contrast_of_graphics_to_its_background(colours: tuple[str, ...], paper: str) -> None:
    for colour in colours:
        bright, dark = sorted([luminance(colour), luminance(paper)], reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= 3, colour
    assert len(DASHES) * len(colours) >= 50


def test_a_small_curve_is_drawn_of_any_values() -> None:
    for values in ([], [1.0], [float("nan")], [1.0, 2.0, 1e308, -1e308], np.zeros(1000)):
        made = svg_sparkline(np.array(values, float), label=EVIL)
        assert Audit(made).faults == []
        assert "nan" not in made.partition("points=")[2]
