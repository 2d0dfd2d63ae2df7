"""Everything that touches the disk: files, formats, segments, locks, and where each thing lies in a store."""
