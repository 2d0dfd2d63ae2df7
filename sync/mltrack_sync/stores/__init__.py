"""Runs, models and traces copied between stores as the files they are."""
