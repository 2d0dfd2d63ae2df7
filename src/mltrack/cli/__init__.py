"""The command line: a thin shell over the library. ``main`` is the console script's entry."""

from mltrack.cli.app import main

__all__ = ["main"]
