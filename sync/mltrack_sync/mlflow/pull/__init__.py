"""Pulling from servers that speak MLflow's API: what they have and the store lacks is brought into the store."""
