"""What the remote has, compared with what the store has."""
