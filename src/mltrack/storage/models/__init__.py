"""Logged models: a folder and a log each, and what its lines add up to."""
