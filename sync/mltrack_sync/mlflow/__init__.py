"""MLflow servers as remotes: what to send, sending it, and comparing both sides."""
