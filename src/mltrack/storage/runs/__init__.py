"""Runs: their state from events and points, reading them, and edits from outside."""
