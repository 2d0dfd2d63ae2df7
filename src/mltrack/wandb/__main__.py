"""``python -m mltrack.wandb train.py [arguments]``: runs a script that imports wandb, unchanged."""

from __future__ import annotations

import os
import runpy
import sys
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from mltrack.text.printing import say
from mltrack.wandb.install import install

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["main"]

OWN_FILES = (__file__, runpy.__file__, "<frozen runpy>")
"""What is above a program's own frames when this runs it."""

USAGE = """usage: python -m mltrack.wandb SCRIPT [ARGUMENTS]
       python -m mltrack.wandb -m MODULE [ARGUMENTS]

Runs a Python program in which `import wandb` means mltrack.wandb, also in the Python processes that
it starts: its runs are recorded into the store ($MLTRACK_STORE, else the nearest .mltrack).

Example: python -m mltrack.wandb train.py --epochs 3"""


def main(args: list[str]) -> int:
    """Run the program as ``__main__``; returns 2 if none is named, or it is not there."""
    if not args or args[0] in ("-h", "--help") or args == ["-m"]:
        for line in USAGE.splitlines():
            say(line, err=not args)
        return 0 if args and args[0] in ("-h", "--help") else 2
    missing = _missing_module(args[1]) if args[0] == "-m" else _missing_script(args[0])
    if missing:
        say(f"error: {missing}", err=True)
        say("hint: see: python -m mltrack.wandb --help", err=True)
        return 2
    install()
    sys.excepthook = partial(_without_own_frames, sys.excepthook)
    if args[0] == "-m":
        sys.argv = args[1:]
        runpy.run_module(args[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = args
        sys.path[0] = os.path.dirname(os.path.abspath(args[0]))
        runpy.run_path(args[0], run_name="__main__")
    return 0


def _missing_script(path: str) -> str:
    """Why there is nothing to run at a path; empty where there is."""
    if not os.path.exists(path):
        return f"there is no script {path}"
    if os.path.isdir(path) and not os.path.isfile(os.path.join(path, "__main__.py")):
        return f"{path} is a folder without a __main__.py"
    return ""


def _missing_module(name: str) -> str:
    """Why there is no module of that name to run; empty where there is."""
    sys.path[0] = os.getcwd()
    try:
        found = find_spec(name)
    except (ImportError, ValueError) as error:  # of a package above it
        return f"module {name} can't be imported: {error}"
    return "" if found is not None else f"there is no module {name}"


def _without_own_frames(
    shown: Callable[..., object], kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Show an error of the program as Python does, from the program's own first line on."""
    while trace is not None and trace.tb_frame.f_code.co_filename in OWN_FILES:
        trace = trace.tb_next
    shown(kind, error.with_traceback(trace), trace)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
