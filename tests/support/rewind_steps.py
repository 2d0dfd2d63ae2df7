"""What a training that goes back now and then does, the same for the same seed: in a process, and in the model."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

__all__ = ["operations"]

REWIND_CHANCE = 0.02
BACK_MAX = 30


def operations(seed: int, step: int) -> Iterator[tuple[str, int, float]]:
    """Without an end: ("log", step, value), each value once, and ("rewind", step, 0.0); from ``step`` on."""
    chance = random.Random(seed)
    for number in itertools.count():
        if chance.random() < REWIND_CHANCE:
            step = max(-1, step - chance.randint(1, BACK_MAX))
            yield "rewind", step, 0.0
        else:
            step += 1
            yield "log", step, seed * 1e6 + number
