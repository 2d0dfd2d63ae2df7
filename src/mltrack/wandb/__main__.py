"""``python -m mltrack.wandb train.py [arguments]``: runs a script that imports wandb, unchanged."""

from __future__ import annotations

import os
import runpy
import sys

from mltrack.text.printing import say
from mltrack.wandb.install import install

__all__ = ["main"]

USAGE = """usage: python -m mltrack.wandb SCRIPT [ARGUMENTS]
       python -m mltrack.wandb -m MODULE [ARGUMENTS]

Runs a Python program in which `import wandb` means mltrack.wandb, also in the Python processes that
it starts: its runs are recorded into the store ($MLTRACK_STORE, else the nearest .mltrack).

Example: python -m mltrack.wandb train.py --epochs 3"""


def main(args: list[str]) -> int:
    """Run the program as ``__main__``; returns 2 if none is named."""
    if not args or args[0] in ("-h", "--help") or args == ["-m"]:
        for line in USAGE.splitlines():
            say(line, err=not args)
        return 0 if args and args[0] in ("-h", "--help") else 2
    install()
    if args[0] == "-m":
        sys.argv = args[1:]
        sys.path[0] = os.getcwd()
        runpy.run_module(args[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = args
        sys.path[0] = os.path.dirname(os.path.abspath(args[0]))
        runpy.run_path(args[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
