"""MLflow on the mltrack store: what MLflow finds through entry points for the scheme ``mltrack``.

``mlflow.set_tracking_uri("mltrack:")`` makes every MLflow program work on the store. Importing this package imports
nothing else; MLflow itself is imported when a store is opened.
"""
