"""One sync cycle or one comparison with a remote, whatever its kind."""
