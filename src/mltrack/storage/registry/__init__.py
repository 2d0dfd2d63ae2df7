"""The model registry: its log and what its lines add up to."""
