"""MLflow's pages, looked at in a browser."""
