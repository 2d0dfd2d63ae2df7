"""The command line: a thin shell on the library. ``main`` is the console script's entry."""

import sys
from typing import TYPE_CHECKING, NoReturn

__all__ = ["main"]

if TYPE_CHECKING:
    from mltrack.cli.app import main
else:
    try:
        from mltrack.cli.app import main
    except ModuleNotFoundError as error:  # without its dependencies, mltrack can only record
        if (error.name or "mltrack").partition(".")[0] in ("mltrack", "mltrack_sync"):
            raise
        _missing = error.name

        def main() -> NoReturn:
            """Name what is missing."""
            sys.exit(
                f"error: the command line needs {_missing}, which is not installed\nhint: pip install mltrack-local"
            )
