"""Makes ``import wandb`` mean ``mltrack.wandb``, in this process and in the Python processes that it starts."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import mltrack.wandb as face
from mltrack.wandb.modules import Finder

__all__ = ["CHILDREN", "install"]

CHILDREN = Path(__file__).parent / "children"
"""A folder with a module ``wandb``: on PYTHONPATH it goes before an installed wandb.

Libraries that ask which version is installed find it in the folder, too.
"""


def install(*, in_children: bool = True) -> None:
    """Do that; ``in_children`` also for Python processes that this one starts."""
    if sys.modules.get("wandb") is not face:
        for name in [one for one in sys.modules if one == "wandb" or one.startswith("wandb.")]:
            del sys.modules[name]
        sys.modules["wandb"] = face
        sys.meta_path.insert(0, Finder("wandb"))
    if in_children:
        held = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        if str(CHILDREN) not in held:
            os.environ["PYTHONPATH"] = os.pathsep.join([str(CHILDREN), *(part for part in held if part)])
        if str(CHILDREN) not in sys.path:
            sys.path.insert(1, str(CHILDREN))  # spawned processes of multiprocessing get this path, not PYTHONPATH's
