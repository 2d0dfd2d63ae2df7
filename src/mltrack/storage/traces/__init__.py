"""Traces: written, folded and indexed."""
