"""The ledger of a remote: what it acknowledged, and what was on its way."""
