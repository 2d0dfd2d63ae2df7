"""aim's repositories as a source."""
