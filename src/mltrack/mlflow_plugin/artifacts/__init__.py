"""MLflow's artifact repositories on a store."""
