"""Packages that an extra of mltrack brings: looked for right before they are imported, so that the error names it."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

from mltrack.errors import MissingPackageError

__all__ = ["is_installed", "need"]

_EXTRA_OF = {
    "PIL": "images",
    "deltalake": "lake",
    "matplotlib": "report",
    "mcp": "mcp",
    "mlflow": "mlflow",
    "pandas": "pandas",
    "rocksdict": "aim",
    "textual": "tui",
    "uvicorn_worker": "mlflow",
}
"""The extra that brings a module; any other is a dependency, which ``pip install --no-deps`` left out."""

_PACKAGE_OF = {"PIL": "Pillow", "uvicorn_worker": "uvicorn-worker", "yaml": "PyYAML"}
"""The package's name, where it is not the module's."""


def is_installed(module: str) -> bool:
    """Whether a module could be imported."""
    return module in sys.modules or find_spec(module) is not None


def need(module: str, what: str, *, instead: str = "") -> None:
    """Make sure that ``module`` is installed, before it is imported for ``what``.

    Args:
        module: the module that will be imported.
        what: what needs it: the subject of the message.
        instead: what can be done without it, for the hint.

    Raises:
        MissingPackageError: it is not installed.
        ImportError: the whole installation is gone (its disk was unmounted); recording counts that as a loss.
    """
    if is_installed(module):
        return
    package = _PACKAGE_OF.get(module, module)
    if not os.path.exists(__file__):
        raise ImportError(f"{what} needs {package}, and the folder of the installation is gone")
    extra = _EXTRA_OF.get(module)
    hint = f"pip install 'mltrack-local[{extra}]'" if extra else "pip install mltrack-local"
    raise MissingPackageError(
        f"{what} needs {package}, which is not installed", hint=f"{hint}, {instead}" if instead else hint
    )
