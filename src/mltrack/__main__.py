"""``python -m mltrack``: the command line."""

from mltrack.cli import main

if __name__ == "__main__":
    main()
