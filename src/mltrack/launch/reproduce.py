"""Recreates what a launched run ran: its source files, environment files and command, in a new folder."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mltrack.disk.filesystem import read_small, safe_join
from mltrack.errors import CorruptionError, NotFoundError, UsageError
from mltrack.launch.packages import is_interpreter
from mltrack.process.secret_patterns import REDACTED
from mltrack.storage.runs.launch_files import DIFF_NAME, LIST_BYTES_MAX, read_launch, read_source_files
from mltrack.storage.source_contents import Contents

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack.store import Store

__all__ = ["Reproduced", "reproduce"]

ABOUT_FOLDER = "mltrack-run"
"""The folder, in the new one, for all but the source files."""


@dataclass(frozen=True, slots=True)
class Reproduced:
    """What was recreated: the number of files, the missing ones with the reason, the command, and the next steps."""

    files: int
    missing: dict[str, str]
    command: str
    steps: tuple[str, ...]


def reproduce(store: Store, run: StoredRun, folder: Path) -> Reproduced:
    """Write a run's source files to ``folder``, which is new or empty, and how the run was started.

    Raises:
        NotFoundError: the run has no snapshot.
        UsageError: the folder is not empty.
        InvalidPathError: the snapshot names a file outside of it.
        OSError: it can't be written.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty", hint="give a new folder")
    listing, launch = read_source_files(run), read_launch(run)
    folder.mkdir(parents=True, exist_ok=True)
    missing = {name: str(reason) for name, reason in listing.get("left_out", {}).items()}
    contents, written = Contents(store.path), 0
    for name, one in listing["files"].items():
        target = safe_join(folder, name)
        try:
            data = contents.read(str(one["sha256"]))
        except (NotFoundError, CorruptionError) as error:
            missing[name] = str(error)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        if one.get("executable"):
            target.chmod(0o755)
        written += 1
    return Reproduced(written, missing, str(launch["command_line"]), _write_launch(run, folder, launch))


def _write_launch(run: StoredRun, folder: Path, launch: dict[str, Any]) -> tuple[str, ...]:
    """Write the environment's files and a script with the command; returns the next steps for the user."""
    about = folder / ABOUT_FOLDER
    about.mkdir(exist_ok=True)
    for artifact in run.artifacts:
        if artifact.path.startswith("environment/") or artifact.path == DIFF_NAME:
            name = artifact.path.rpartition("/")[2]
            (about / name).write_bytes(read_small(run.artifact_path(artifact.path), LIST_BYTES_MAX))
    below = str(launch.get("folder") or ".")
    variables = launch.get("variables") or {}
    lines = ["#!/bin/sh", f"# run {run.run_id} {run.info.run_name}", f'cd "$(dirname "$0")/../"{shlex.quote(below)}']
    lines += [f"# export {name}={shlex.quote(str(value))}" for name, value in variables.items()]
    lines += [shlex.join(_anywhere(list(map(str, launch["command"])))), ""]
    script = about / "command.sh"
    script.write_text("\n".join(lines), "utf-8", "surrogateescape")
    script.chmod(0o755)
    steps = [f"cd {shlex.quote(str(folder))}"]
    if (about / "requirements.txt").exists():
        python = ".".join(str(launch.get("python") or "3").split(".")[:2])
        steps += [
            f"python{python} -m venv .venv && . .venv/bin/activate",
            f"pip install -r {ABOUT_FOLDER}/requirements.txt",
        ]
        steps += _manual_installs(about / "requirements.txt")
    steps.append(f"sh {ABOUT_FOLDER}/command.sh")
    if REDACTED in str(launch["command_line"]):
        steps.append(f"# first put back what was redacted in {ABOUT_FOLDER}/command.sh")
    return tuple(steps)


def _anywhere(command: list[str]) -> list[str]:
    """The command for the rebuilt environment: an interpreter with a path belongs to the old one."""
    if os.path.isabs(command[0]) and is_interpreter(command[0]):
        return ["python", *command[1:]]
    return command


def _manual_installs(requirements: Path) -> list[str]:
    """Comments about the packages that pip can't install."""
    lines = requirements.read_text("utf-8", "replace").splitlines()
    return [f"# install by hand: {line[2:]}" for line in lines if line.startswith("# ") and "==" in line]
