"""What one process writes of one run, from the first point to the sealed segment, and reading it back."""
