"""aim's sequences: what was tracked under one name in one context. Their names here, and their numbers as columns."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mltrack.importers.aim.encoding import encode_path
from mltrack.importers.aim.rocks import RocksFolder

__all__ = ["Sequence", "count_with_epochs", "ns_of_seconds", "sequences_of", "times_of"]

HASHED = 2
"""The version of sequences of numbers since aim 3.18: their places are hashes of their steps."""

_SYSTEM = "__system__"
_SYSTEM_NAMES = {
    "memory_percent": "system_memory_usage_percentage",
    "disk_percent": "disk_usage_percentage",
    "gpu": "gpu_{gpu}_utilization_percentage",
    "gpu_memory_percent": "gpu_{gpu}_memory_usage_percentage",
    "gpu_power_watts": "gpu_{gpu}_power_usage_watts",
    "gpu_temp": "gpu_{gpu}_temp",
}
_NUMBERS = {"int", "float", "number", "bool", "int64", "float64"}
NS_PER_US = 1_000
NONE = b"\0"


@dataclass(frozen=True, slots=True)
class Sequence:
    """One of a run's; ``key`` is its name here, ``kind`` aim's type of its values."""

    run: str
    context: int
    name: str
    key: str
    kind: str
    version: int

    @property
    def is_numbers(self) -> bool:
        """Whether it has numbers."""
        return self.version == HASHED or self.kind in _NUMBERS

    def prefix(self, part: str) -> bytes:
        """The path of its values (``val``), steps, times or epochs."""
        above = ("seqs", "v2", "chunks") if self.version == HASHED else ("seqs", "chunks")
        return encode_path(*above, self.run, self.context, self.name, part)


def sequences_of(run: str, traces: Mapping[Any, Any], contexts: Mapping[Any, Any]) -> list[Sequence]:
    """A run's sequences, in order.

    Their names have the values of the context in front, as ``train/loss``; where two would be the same, its keys too.
    """
    found = []
    for context, names in traces.items():
        for name, facts in names.items() if isinstance(names, dict) else ():
            if isinstance(context, int) and isinstance(name, str) and isinstance(facts, dict):
                found.append((context, name, facts))
    of = {context: contexts.get(context) for context, _, _ in found}
    plain = {context: _context(of[context], with_keys=False) for context in of}
    used = Counter(_key(name, plain[context], of[context]) for context, name, _ in found)
    made = []
    for context, name, facts in sorted(found, key=lambda each: (plain[each[0]], each[1], each[0])):
        key = _key(name, plain[context], of[context])
        if used[key] > 1:
            key = _key(name, _context(of[context], with_keys=True), of[context])
        version = facts.get("version")
        kind = facts.get("dtype")
        made.append(Sequence(run, context, name, key, str(kind or "float"), version if version == HASHED else 1))
    return made


def _context(context: Any, with_keys: bool) -> str:
    fields = context if isinstance(context, dict) else {}
    texts = {str(key): value if isinstance(value, str) else json.dumps(value) for key, value in fields.items()}
    return "/".join(f"{key}={texts[key]}" if with_keys else texts[key] for key in sorted(texts, key=_subset_first))


def _subset_first(key: str) -> tuple[bool, str]:
    return key != "subset", key


def _key(name: str, context: str, fields: Any) -> str:
    if name.startswith(_SYSTEM):
        own = name.removeprefix(_SYSTEM)
        gpu = fields.get("gpu", 0) if isinstance(fields, dict) else 0
        known = _SYSTEM_NAMES.get(own)
        return f"system/{own if known is None else known.format(gpu=gpu)}"
    return f"{context}/{name}" if context else name


def times_of(rocks: RocksFolder, sequence: Sequence) -> dict[int, int]:
    """The times in ns of a sequence of objects, by step.

    Raises:
        SourceError: they can't be read.
    """
    times = rocks.numbers(sequence.prefix("time"))
    return dict(zip(times.places.tolist(), ns_of_seconds(times.floats).tolist(), strict=True))


def ns_of_seconds(seconds: Any) -> Any:
    """Seconds since the epoch in ns, to the microsecond, which is what a float has."""
    with np.errstate(invalid="ignore"):
        usable = np.where(np.abs(seconds) < 9e9, seconds, 0.0)
    return np.rint(usable * 1e6).astype(np.int64) * NS_PER_US


def count_with_epochs(rocks: RocksFolder, sequences: Iterable[Sequence]) -> int:
    """How many of these have epochs, told by their first ones."""
    found = 0
    for sequence in sequences:
        prefix = sequence.prefix("epoch")
        first = next((value for key, value in rocks.scan(prefix) if len(key) > len(prefix)), NONE)
        found += first != NONE
    return found
