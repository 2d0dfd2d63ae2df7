"""Logged models: a folder and a log each, and the state that its lines give."""
