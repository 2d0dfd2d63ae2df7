"""What tests are made with: servers, a proxy, syncers, stores, and programs that are run."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The project's folder; ``python -m tests.support.x`` is run in it."""
