"""``python -m mltrack``: the command line."""

import sys

from mltrack.cli import main

if __name__ == "__main__":
    sys.exit(main())
