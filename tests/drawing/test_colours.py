"""Colours: visible on their background, and different to people with any colour vision."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mltrack.drawing.colours import DARK, LIGHT

BACKGROUNDS = {"dark": "#121212", "light": "#e0e0e0"}
"""Those of Textual's themes; a page is white, or as dark."""

# Machado, Oliveira and Fernandes (2009), severity 1.0, for linear RGB
VISIONS = {
    "any": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def linear(color: str) -> np.ndarray:
    parts = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def luminance(color: str) -> float:
    return float(linear(color) @ [0.2126, 0.7152, 0.0722])


def lab(rgb: np.ndarray) -> np.ndarray:
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ rgb.clip(0, 1)
    scaled = xyz / np.array([0.9505, 1.0, 1.089])
    f = np.where(scaled > 0.008856, np.cbrt(scaled), 7.787 * scaled + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize(("palette", "background"), [(DARK, "dark"), (LIGHT, "light")])
def test_every_colour_stands_out_from_its_background(palette: tuple[str, ...], background: str) -> None:
    behind = luminance(BACKGROUNDS[background])
    for color in palette:
        high, low = max(luminance(color), behind), min(luminance(color), behind)
        assert (high + 0.05) / (low + 0.05) >= 3, color  # what WCAG asks of graphics


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("palette", [DARK, LIGHT])
def test_any_two_colours_differ_to_people_with_any_colour_vision(palette: tuple[str, ...], vision: str) -> None:
    seen = [lab(VISIONS[vision] @ linear(color)) for color in palette]
    nearest = min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2))
    assert nearest > 14  # a difference of two or three can just be seen
