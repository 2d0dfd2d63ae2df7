"""Comet's archives of offline experiments as a source."""
