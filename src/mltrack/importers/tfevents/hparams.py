"""What TensorBoard's plugin HParams keeps of a run: hyperparameters, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field

from mltrack.importers.protobuf import Fields

__all__ = ["Session"]

_STATUSES = {1: "FINISHED", 2: "FAILED", 3: "RUNNING"}
_START_TAGS = {2: "hparams.model_uri", 3: "hparams.monitor_url", 4: "hparams.group_name"}
_NULL, _NUMBER, _STRING, _BOOL = 1, 2, 3, 4


@dataclass(slots=True)
class Session:
    """Collects it; times are in seconds since the epoch, 0 where they are not known."""

    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    status: str = ""
    end: float = 0.0

    def take(self, content: bytes) -> None:
        """Take what one event says.

        Raises:
            WireError: it is damaged.
        """
        data = Fields(content)
        start, end = data.inner(3), data.inner(4)
        for entry in start.each(1):
            self.params[entry.text(1)] = _text(entry.inner(2))
        for number, tag in _START_TAGS.items():
            if start.text(number):
                self.tags[tag] = start.text(number)
        if 4 in data:
            self.status = _STATUSES.get(end.integer(1), self.status)
            self.end = end.double(2)


def _text(value: Fields) -> str:
    """A value of protobuf's Struct as text; whole numbers without a fraction, as they are stored as floats."""
    if _NUMBER in value:
        number = value.double(_NUMBER)
        return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)
    if _BOOL in value:
        return str(bool(value.integer(_BOOL)))
    if _STRING in value:
        return value.text(_STRING)
    return "None" if _NULL in value else ""
