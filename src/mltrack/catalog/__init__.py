"""Querying the store: its catalog, MLflow's filter grammar, search and SQL. The run folders stay the source of truth."""
