"""What differs between two runs: code, packages, params, command, environment, host, data, metrics."""
