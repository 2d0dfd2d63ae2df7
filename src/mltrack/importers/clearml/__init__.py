"""ClearML's offline sessions as a source."""
