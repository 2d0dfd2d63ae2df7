"""Checking a store: every checksum of every file, and what is missing."""
