"""The model registry: its log and the state that its lines give."""
