"""MLflow's REST calls, each a method."""
