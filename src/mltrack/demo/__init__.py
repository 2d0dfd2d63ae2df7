"""The demo: a training to record, an MLflow server to push to, and a comparison of both sides."""
