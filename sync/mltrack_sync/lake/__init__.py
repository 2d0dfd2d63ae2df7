"""Lakes as a kind of remote: Delta tables in a folder or on object storage, where the runs of many machines meet."""
