"""Recording: runs, the module-level functions on the active one, and what is recorded on the side."""
