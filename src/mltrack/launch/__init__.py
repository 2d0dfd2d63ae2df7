"""Launching: a program run as a child, with its output, code and machine recorded beside what it logs itself."""
