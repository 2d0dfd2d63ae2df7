"""Launching: a program run as a child, with its output, code and machine recorded along with what it logs itself."""
