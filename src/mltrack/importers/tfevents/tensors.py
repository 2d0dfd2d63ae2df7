"""TensorFlow's TensorProto: numbers and texts, without TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mltrack.importers.protobuf import Fields, WireError

__all__ = ["Tensor", "tensor_of"]

HALF, BFLOAT16, STRING, BOOL = 19, 14, 7, 10

_TYPES = {
    1: "<f4",
    2: "<f8",
    3: "<i4",
    4: "u1",
    5: "<i2",
    6: "i1",
    9: "<i8",
    BOOL: "u1",
    BFLOAT16: "<u2",
    17: "<u2",
    HALF: "<f2",
    22: "<u4",
    23: "<u8",
}
_INTEGER_FIELDS = {3: 7, 4: 7, 5: 7, 6: 7, 17: 7, 9: 10, BOOL: 11, HALF: 13, BFLOAT16: 13, 22: 16, 23: 17}
SIZE_MAX = 1 << 26


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """Its shape, and its numbers or texts, row by row."""

    shape: tuple[int, ...]
    numbers: npt.NDArray[Any] | None = None
    texts: tuple[bytes, ...] = ()


def tensor_of(fields: Fields) -> Tensor:
    """The tensor of a message.

    Raises:
        WireError: it has a type that is not known here, or too few values.
    """
    kind, shape = fields.integer(1), tuple(size.integer(1) for size in fields.inner(2).each(2))
    if kind == STRING:
        return Tensor(shape, texts=tuple(fields.contents(8)))
    if kind not in _TYPES:
        raise WireError(f"a tensor of type {kind}")
    size = 1
    for length in shape:
        size *= length
    if not 0 <= size <= SIZE_MAX:
        raise WireError(f"a tensor of shape {shape}")
    return Tensor(shape, numbers=_filled(_numbers(fields, kind), size).reshape(shape))


def _numbers(fields: Fields, kind: int) -> npt.NDArray[Any]:
    code = _TYPES[kind]
    if 4 in fields:
        content = fields.content(4)
        found: npt.NDArray[Any] = np.frombuffer(
            content[: len(content) // np.dtype(code).itemsize * np.dtype(code).itemsize], code
        )
    elif kind == 1:
        found = np.frombuffer(fields.packed(5, "f"), code)
    elif kind == 2:
        found = np.frombuffer(fields.packed(6, "d"), code)
    elif kind in (HALF, BFLOAT16):
        found = np.array(fields.integers(13), np.uint16).view(code)
    else:
        wide = np.array(fields.integers(_INTEGER_FIELDS[kind]), np.int64)
        return wide.view(np.uint64) if kind == 23 else wide
    if kind == BFLOAT16:
        return (found.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return found


def _filled(found: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """As TensorFlow does: of values that are missing each is the last one, or zero."""
    if len(found) >= size:
        return found[:size]
    last = found[-1:] if len(found) else np.zeros(1, found.dtype)
    return np.concatenate([found, np.repeat(last, size - len(found))])
