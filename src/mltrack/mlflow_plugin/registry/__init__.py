"""MLflow's model registry on a store."""
