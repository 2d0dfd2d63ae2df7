"""Folders of DVCLive as a source."""
