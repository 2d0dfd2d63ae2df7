"""Tables of metrics: CSV, JSON lines, and the folders of Lightning's CSVLogger."""
