"""Everything that touches the disk: files, formats, segments, locks, and the layout of a store."""
