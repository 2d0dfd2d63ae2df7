"""The store: where things lie on disk, how a run's files fold into its state, how journals are sealed and checked."""
