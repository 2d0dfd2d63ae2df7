"""What is to be sent to an MLflow server, found from the store and the ledger: no request is made here."""
