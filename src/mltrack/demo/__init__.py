"""The demonstration's parts: a training to record, an MLflow server to push to, and a count of both sides."""
