"""A run's config: items and attributes, each a param of the run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mltrack.wandb.errors import ConfigError, UsageError
from mltrack.wandb.plain_values import plain

__all__ = ["Config", "default_config", "parse_config"]

DEFAULTS_FILE = "config-defaults.yaml"


class Config:
    """A mapping with attributes: ``config.lr``, ``config["lr"]``, ``config.update(args)``.

    Values are JSON's types: arrays become lists, anything else text. A value that is set stays, unless
    ``allow_val_change`` is given.
    """

    def __init__(self, on_change: Callable[[dict[str, Any]], None] | None = None) -> None:
        object.__setattr__(self, "_items", {})
        object.__setattr__(self, "_on_change", on_change)

    _items: dict[str, Any]
    _on_change: Callable[[dict[str, Any]], None] | None

    def __repr__(self) -> str:
        return str(dict(self._items))

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._take({key: value}, False)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self._items[name]
        except KeyError:
            raise AttributeError(f"the config has no {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self._take({name: value}, False)

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def keys(self) -> list[str]:
        """The names."""
        return list(self._items)

    def values(self) -> list[Any]:
        """The values."""
        return list(self._items.values())

    def items(self) -> list[tuple[str, Any]]:
        """Names and values."""
        return list(self._items.items())

    def get(self, key: str, default: Any = None) -> Any:
        """A value, or the default."""
        return self._items.get(key, default)

    def as_dict(self) -> dict[str, Any]:
        """A copy."""
        return dict(self._items)

    def update(self, d: Any, allow_val_change: bool | None = None) -> None:
        """Take values from a mapping, an ``argparse.Namespace``, absl's flags, or a YAML file by its path.

        Raises:
            ConfigError: a value would change, and ``allow_val_change`` is not set; nothing was taken.
        """
        self._take(parse_config(d), bool(allow_val_change))

    def setdefaults(self, d: Any) -> None:
        """Take those values whose names are new."""
        self._take({key: value for key, value in parse_config(d).items() if key not in self._items}, False)

    def persist(self) -> None:
        """Does nothing: values are stored when they are set."""

    def _take(self, values: Mapping[str, Any], allow_val_change: bool) -> None:
        new = {str(key).strip("-"): plain(value) for key, value in values.items()}
        for key, value in new.items():
            if not allow_val_change and key in self._items and self._items[key] != value:
                raise ConfigError(
                    f'Attempted to change value of key "{key}" from {self._items[key]} to {value}',
                    hint="pass allow_val_change=True to config.update()",
                )
        self._items.update(new)
        if self._on_change is not None and new:
            self._on_change(new)


def parse_config(given: Any, exclude: list[str] | None = None, include: list[str] | None = None) -> dict[str, Any]:
    """What ``wandb.init(config=...)`` accepts, as a dict.

    Raises:
        UsageError: it is something else, or both lists are given.
    """
    if exclude and include:
        raise UsageError("config_exclude_keys and config_include_keys are both given", hint="give one of them")
    found = _as_dict(given)
    if include:
        found = {key: value for key, value in found.items() if key in include}
    return {key: value for key, value in found.items() if not exclude or key not in exclude}


def _as_dict(given: Any) -> dict[str, Any]:
    if given is None:
        return {}
    if isinstance(given, str):
        return read_config_file(Path(given))
    if isinstance(given, Mapping):
        return {str(key): value for key, value in given.items()}
    if isinstance(given, Config):
        return given.as_dict()
    if inspect.ismodule(given) and hasattr(given, "FLAGS"):
        given = given.FLAGS
    if hasattr(given, "flag_values_dict"):  # absl's
        return dict(given.flag_values_dict())
    if hasattr(given, "__dict__"):
        return {str(key): value for key, value in vars(given).items()}
    raise UsageError(f"{type(given).__name__} is not a config", hint="give a dict, or argparse's Namespace")


def read_config_file(path: Path) -> dict[str, Any]:
    """The values of a YAML file: plain, or in wandb's form ``name: {value: ..., desc: ...}``.

    Raises:
        UsageError: it can't be read.
    """
    import yaml

    try:
        found = yaml.safe_load(path.read_text("utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: {error}", hint="give a YAML file of names and values") from error
    values = {str(key): one for key, one in found.items() if key != "wandb_version"} if isinstance(found, dict) else {}
    return {key: one["value"] if isinstance(one, dict) and "value" in one else one for key, one in values.items()}


def default_config() -> dict[str, Any]:
    """The values of config-defaults.yaml in the working folder, if it is there."""
    path = Path(DEFAULTS_FILE)
    return read_config_file(path) if path.is_file() else {}
