"""Querying the store: its catalog, MLflow's filter grammar, search and SQL. The run folders remain the truth."""
