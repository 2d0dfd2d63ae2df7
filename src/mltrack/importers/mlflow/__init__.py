"""What MLflow keeps: its folder ``mlruns``, its database, and what both have in common."""
