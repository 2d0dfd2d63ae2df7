"""The two points of the million that lie far from all others."""

from __future__ import annotations

SPIKE, DIP = 50.0, -50.0
