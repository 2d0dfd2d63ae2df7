"""Finds modules of wandb's by name, as ``wandb.keras`` or ``mltrack.wandb.keras``, or says what to use instead."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mltrack.wandb.discarding import DiscardingRun
from mltrack.wandb.refused import refuse_module

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Finder"]

_FACE = "mltrack.wandb"
_SAME = ("data_types", "errors", "plot", "util")
_REAL = {"integration": "mltrack.wandb.integration"} | {
    f"{above}{name}": f"mltrack.wandb.integration.{name}"
    for name in ("catboost", "keras", "lightgbm", "sklearn", "xgboost")
    for above in ("", "integration.")
}
"""Modules that there are, by wandb's names."""
_PARTS = {
    "sdk": (),
    "sdk.wandb_run": ("Run",),
    "sdk.lib": ("RunDisabled",),
    "sdk.lib.runid": ("generate_id",),
    "sdk.lib.config_util": ("ConfigError",),
    "sdk.data_types": (),
    "sdk.wandb_config": ("Config",),
    "sdk.wandb_settings": ("Settings",),
    "wandb_run": ("Run",),
}
"""Modules inside of wandb that programs import from, and what each has."""


class Finder(MetaPathFinder, Loader):
    """Finds modules of a package that stands for wandb, or raises an error that says what to use."""

    def __init__(self, package: str) -> None:
        self._prefix = f"{package}."

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module, if it is one of wandb's.

        Raises:
            UnsupportedImportError: it is not here.
        """
        if not fullname.startswith(self._prefix):
            return None
        name = fullname.removeprefix(self._prefix)
        if name in _SAME or name in _PARTS or name in _REAL:
            return ModuleSpec(fullname, self, is_package=True)
        if name.startswith("_"):
            return None
        raise refuse_module(f"wandb.{name}")

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Make it."""
        face = sys.modules[_FACE]
        name = spec.name.removeprefix(self._prefix)
        if name in _REAL:
            return import_module(_REAL[name])
        module = ModuleType(spec.name)
        names = _PARTS.get(name)
        source = face if names is not None or name in ("data_types",) else getattr(face, name)
        if names is None:
            module.__getattr__ = lambda key: getattr(source, key)  # type: ignore[method-assign]
        else:
            for one in names:
                setattr(module, one, _named(face, one))
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to do."""


def _named(face: Any, name: str) -> Any:
    if name == "generate_id":
        return face.util.generate_id
    if name == "RunDisabled":
        return DiscardingRun
    return face.errors.ConfigError if name == "ConfigError" else getattr(face, name)
