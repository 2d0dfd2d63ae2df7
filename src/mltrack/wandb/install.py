"""Makes ``import wandb`` mean ``mltrack.wandb``, in this process and in the Python processes that it starts."""

from __future__ import annotations

import os
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import mltrack.wandb as face
from mltrack.wandb import refused

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CHILDREN", "install"]

CHILDREN = Path(__file__).parent / "children"
"""A folder with a module ``wandb``: on PYTHONPATH it goes before an installed wandb."""

_SAME = ("data_types", "errors", "plot", "util")
_PARTS = {
    "integration": (),
    "sdk": (),
    "sdk.wandb_run": ("Run",),
    "sdk.lib": (),
    "sdk.lib.runid": ("generate_id",),
    "sdk.lib.config_util": ("ConfigError",),
    "sdk.data_types": (),
    "sdk.wandb_config": ("Config",),
    "sdk.wandb_settings": ("Settings",),
    "wandb_run": ("Run",),
}
"""Modules inside of wandb that programs import from, and what each has."""


class _Finder(MetaPathFinder, Loader):
    """Finds wandb's modules here; those that are not here raise an error that says what to use."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module, if it is one of wandb's.

        Raises:
            UnsupportedImportError: it is not here.
        """
        if not fullname.startswith("wandb."):
            return None
        name = fullname.removeprefix("wandb.")
        if name in _SAME or name in _PARTS:
            return ModuleSpec(fullname, self, is_package=True)
        raise refused.refuse_module(fullname)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Make it."""
        name = spec.name.removeprefix("wandb.")
        module = ModuleType(spec.name)
        names = _PARTS.get(name)
        source = face if names is not None or name in ("data_types",) else getattr(face, name)
        if names is None:
            module.__getattr__ = lambda key: getattr(source, key)  # type: ignore[method-assign]
        else:
            for one in names:
                setattr(module, one, _named(one))
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to do."""


def _named(name: str) -> Any:
    if name == "generate_id":
        return face.util.generate_id
    return face.errors.ConfigError if name == "ConfigError" else getattr(face, name)


def install(*, in_children: bool = True) -> None:
    """Do that; ``in_children`` also for Python processes that this one starts."""
    if sys.modules.get("wandb") is not face:
        for name in [one for one in sys.modules if one == "wandb" or one.startswith("wandb.")]:
            del sys.modules[name]
        sys.modules["wandb"] = face
        sys.meta_path.insert(0, _Finder())
    if in_children:
        held = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        if str(CHILDREN) not in held:
            os.environ["PYTHONPATH"] = os.pathsep.join([str(CHILDREN), *(part for part in held if part)])
        if str(CHILDREN) not in sys.path:
            sys.path.insert(1, str(CHILDREN))  # spawned processes of multiprocessing get this path, not PYTHONPATH's
