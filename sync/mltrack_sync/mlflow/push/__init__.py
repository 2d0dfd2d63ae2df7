"""Pushing: what is pending is sent, acknowledged and written to the ledger."""
