"""Sizes as people write them: ``10M``, ``500k``."""

from __future__ import annotations

import re

from mltrack.errors import UsageError

__all__ = ["parse_size"]

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKmMgGtT]?)(?:i?[bB])?")
_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}


def parse_size(text: str) -> int:
    """Bytes in a text such as ``10M``, ``500k`` or ``1.5 GB`` (k, M, G, T are thousands).

    Raises:
        UsageError: it is not one.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not a size", hint="give bytes, such as 10M or 500k")
    return int(float(match[1]) * _UNITS[match[2].lower()])
