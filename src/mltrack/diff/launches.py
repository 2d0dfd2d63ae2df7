"""What is known of how a run was started: program, packages, variables, machine; of launched runs all of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mltrack.disk.filesystem import read_small
from mltrack.environment import GIT_DIRTY_TAG, SOURCE_NAME_TAG
from mltrack.errors import CorruptionError, NotFoundError
from mltrack.storage.runs.launch_files import LIST_BYTES_MAX, REQUIREMENTS_NAME, read_launch, read_source_files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mltrack.storage.runs.stored_run import StoredRun

__all__ = ["Launch", "parse_requirements", "read_launch_facts"]

_GIT = {
    "mlflow.source.git.commit": "commit",
    "mlflow.source.git.branch": "branch",
    "mlflow.source.git.repoURL": "repository",
    GIT_DIRTY_TAG: "uncommitted changes",
}
_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:==|@)\s*(?P<rest>\S.*)")


@dataclass(slots=True)
class Launch:
    """The facts of one run; None for what was not recorded, with the reasons in ``missing``."""

    origin: dict[str, str]
    files: Mapping[str, Any] | None = None
    packages: dict[str, str] | None = None
    command: dict[str, str] | None = None
    variables: dict[str, str] | None = None
    machine: dict[str, str] = field(default_factory=dict)
    whole_machine: bool = False
    missing: list[str] = field(default_factory=list)


def read_launch_facts(run: StoredRun) -> Launch:
    """Read what a run has; what can't be read is ``missing``."""
    facts = Launch({name: run.tags[tag] for tag, name in _GIT.items() if tag in run.tags})
    try:
        facts.files = read_source_files(run)["files"]
        _take_launch(facts, read_launch(run))
    except (NotFoundError, CorruptionError) as error:
        facts.missing.append(str(error))
    if SOURCE_NAME_TAG in run.tags:
        facts.command = {**(facts.command or {}), "program": run.tags[SOURCE_NAME_TAG]}
    if not facts.whole_machine:
        hosts = [writer.host for writer in run.writers() if writer.host]
        facts.machine = {"host": hosts[0]} if hosts else {}
    try:
        text = read_small(run.artifact_path(REQUIREMENTS_NAME), LIST_BYTES_MAX).decode("utf-8", "replace")
        facts.packages = parse_requirements(text)
    except NotFoundError as error:
        if facts.files is not None:
            facts.missing.append(str(error))
    return facts


def _take_launch(facts: Launch, launch: Mapping[str, Any]) -> None:
    facts.command = {"command": str(launch["command_line"]), "folder": str(launch.get("folder") or ".")}
    facts.variables = {str(name): str(value) for name, value in (launch.get("variables") or {}).items()}
    machine = launch.get("machine")
    if isinstance(machine, dict):
        facts.machine = {str(name): _shown(value) for name, value in machine.items()}
        facts.whole_machine = True


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(str(one.get("name", one)) if isinstance(one, dict) else str(one) for one in value) or "none"
    return str(value)


def parse_requirements(text: str) -> dict[str, str]:
    """The version, or else the origin, of each package by its normalised name; "python" has the interpreter's."""
    found = {}
    for line in text.splitlines():
        if line.startswith("# Python "):
            found["python"] = line.removeprefix("# Python ")
        elif match := _REQUIREMENT.fullmatch(line.removeprefix("# ")):
            found[re.sub(r"[-_.]+", "-", match["name"]).lower()] = match["rest"]
    return found
