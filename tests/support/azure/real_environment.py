"""A virtual environment that has azureml-mlflow, made once and kept in the user's cache folder."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path


def real_environment() -> Path:
    """The interpreter of the environment; it takes a minute or two when it has to be made.

    azureml-mlflow holds MLflow back to an older version, so it can't live in the environment of the tests.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mltrack-tests"
    folder = cache / f"azureml-mlflow-{sys.version_info.major}.{sys.version_info.minor}"
    python, complete = folder / "bin" / "python", folder / "complete"
    cache.mkdir(parents=True, exist_ok=True)
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
            install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "azureml-mlflow"]
            done = subprocess.run(install, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"azureml-mlflow can't be installed: {done.stderr[-2000:]}")
            complete.touch()
    return python
