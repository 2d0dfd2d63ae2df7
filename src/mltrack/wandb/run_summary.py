"""A run's summary: the last value of all that was logged, or what define_metric asks for, and what is set by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mltrack.wandb.plain_values import plain

__all__ = ["Summary"]


class Summary:
    """A mapping with attributes: ``run.summary["best"] = 0.9``."""

    def __init__(self, on_set: Callable[[dict[str, Any]], None] | None = None) -> None:
        object.__setattr__(self, "_values", {})
        object.__setattr__(self, "_on_set", on_set)

    _values: dict[str, Any]
    _on_set: Callable[[dict[str, Any]], None] | None

    def __repr__(self) -> str:
        return str(self._values)

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __delitem__(self, key: str) -> None:
        del self._values[key]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"the summary has no {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def __delattr__(self, name: str) -> None:
        del self._values[name]

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def keys(self) -> list[str]:
        """The names."""
        return list(self._values)

    def items(self) -> list[tuple[str, Any]]:
        """Names and values."""
        return list(self._values.items())

    def get(self, key: str, default: Any = None) -> Any:
        """A value, or the default."""
        return self._values.get(key, default)

    def update(self, d: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Set values by hand: each number is logged, too, unless a metric of that name is."""
        given = {**(d or {}), **more}
        self._values.update({key: plain(value) for key, value in given.items()})
        if self._on_set is not None:
            self._on_set(given)

    def note(self, name: str, value: Any) -> None:
        """Set what was logged, which says nothing again."""
        self._values[name] = value

    def as_dict(self) -> dict[str, Any]:
        """A copy."""
        return dict(self._values)
