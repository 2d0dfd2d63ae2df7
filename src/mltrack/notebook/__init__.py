"""What a notebook shows of stores and runs: small tables, charts, and charts that follow a live run."""
