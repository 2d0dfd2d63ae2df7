"""trackio's folder, databases, Parquet files and inbox as a source."""
