"""Importers: other trackers' files, read and written into a store."""
