"""A store with something in it, and an environment that gets tokens from the emulated workspace."""

from __future__ import annotations

import mltrack
from mltrack_sync import Remote
from tests.support.azure.emulator import AzureEmulator

RESOURCE_MANAGER = "MLTRACK_AZURE_RESOURCE_MANAGER"


def record(points: int = 450, name: str = "run", files: bool = True) -> str:
    """A run with params, tags, points and files."""
    with mltrack.start_run(run_name=name) as run:
        mltrack.log_params({"lr": 0.1, "n": name})
        mltrack.set_tag("stage", "probé")
        for step in range(points):
            mltrack.log_metric("loss", 1 / (step + 1), step=step)
            if step % 9 == 0:
                mltrack.log_metric("acc", step * 0.5, step=-step)
        if files:
            mltrack.log_text("hello", "notes/hello.txt")
            mltrack.log_text("", "empty.txt")
        return run.run_id


def scope_url(azure: AzureEmulator) -> str:
    """The workspace's URI without a host: the resource manager is asked where it is."""
    return f"azureml:{azure.scope.path}"


def token_file_remote(azure: AzureEmulator, path: str, url: str = "") -> Remote:
    return Remote("prod", url or scope_url(azure), "azure", token_file=path)
