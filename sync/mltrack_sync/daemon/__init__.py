"""The background syncer."""
