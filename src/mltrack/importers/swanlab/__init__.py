"""SwanLab's folders as a source."""
