"""MLflow servers as remotes."""
