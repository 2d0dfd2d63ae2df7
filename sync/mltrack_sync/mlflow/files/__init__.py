"""Files on their way to where a remote keeps artifacts."""
