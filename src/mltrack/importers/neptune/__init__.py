"""What neptune-exporter wrote as a source."""
