"""Asking the store: its catalog, MLflow's filter grammar, search and SQL. The truth stays in the run folders."""
