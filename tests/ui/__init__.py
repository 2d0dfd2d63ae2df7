"""MLflow's user interface on the store, in a real browser."""
