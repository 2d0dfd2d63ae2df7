"""Named remotes, and the kinds of remotes."""
