"""Checking a store: every checksum of every file, and what should be there but is not."""
