"""The commands that talk to remotes, found by mltrack's command line by entry point."""
