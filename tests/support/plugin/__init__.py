"""MLflow's interfaces, on our stores and on MLflow's own."""
