"""MLflow's scoring server with a check of the name by which it is reached, which MLflow's own has only for its pages.

Without it, a page of another site could ask a model on this machine by a name that it lets lead here (DNS rebinding).

``mltrack serve`` runs this module: its main program brings the model's files and runs uvicorn, whose workers import
``app`` from here.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

__all__ = ["ALLOWED_NAMES", "main"]

ALLOWED_NAMES = "_MLTRACK_SERVE_ALLOWED_NAMES"
"""For the workers: the host names that are answered, with commas between; ``*`` is any."""


def _app() -> Any:
    """MLflow's application, behind the check."""
    from mlflow.pyfunc.scoring_server.app import app
    from mlflow.server.fastapi_security import HostValidationMiddleware

    names = [name for name in os.environ[ALLOWED_NAMES].split(",") if name]
    if "*" not in names:
        app.add_middleware(HostValidationMiddleware, allowed_hosts=names)
    return app


def __getattr__(name: str) -> Any:
    if name == "app":
        return _app()
    raise AttributeError(name)


def main() -> None:
    """Serve the model that the arguments name, until the process is ended."""
    import uvicorn
    from mlflow.artifacts import download_artifacts
    from mlflow.environment_variables import MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT
    from mlflow.pyfunc.scoring_server import _SERVER_MODEL_PATH
    from mlflow.utils.file_utils import path_to_local_file_uri

    parser = argparse.ArgumentParser()
    for name in ("--model-uri", "--host", "--port", "--workers"):
        parser.add_argument(name, required=True)
    given = parser.parse_args()
    folder = download_artifacts(artifact_uri=given.model_uri)
    os.environ[_SERVER_MODEL_PATH] = path_to_local_file_uri(folder)
    os.environ[MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.name] = str(MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.get())
    workers = int(given.workers)
    uvicorn.run(f"{__spec__.name}:app", host=given.host, port=int(given.port), workers=workers)


if __name__ == "__main__":
    main()
