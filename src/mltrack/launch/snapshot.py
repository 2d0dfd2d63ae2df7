"""The snapshot of a launched run: its code, its environment and its machine, as artifacts and tags.

``code/files.json`` lists the source files, whose contents the store keeps once each; ``code/changes.diff`` is the
difference from the commit; ``environment/`` has requirements.txt, MLflow's python_env.yaml and conda.yaml, and
launch.json: the command, the folder it ran in, the machine, the variables that matter.
"""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from mltrack.environment import GIT_DIRTY_TAG
from mltrack.launch.host_info import machine_facts, variables
from mltrack.launch.packages import environment_files, installed, interpreter_of
from mltrack.launch.source_files import find_sources, git_state
from mltrack.storage.runs.launch_files import DIFF_NAME, FILES_NAME, LAUNCH_NAME
from mltrack.storage.source_contents import Contents

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mltrack.launch.source_files import GitState
    from mltrack.process.secret_patterns import Redactor
    from mltrack.recording.run import Run
    from mltrack.storage.source_contents import Hashed

__all__ = ["take_snapshot"]


def take_snapshot(
    run: Run, folder: Path, command: Sequence[str], redactor: Redactor, environment: Mapping[str, str]
) -> None:
    """Record code, environment and machine of a program; what can't be stored is counted as lost.

    Args:
        run: the program's.
        folder: where it runs.
        command: what starts it.
        redactor: removes secrets.
        environment: the program's variables.
    """
    contents = Contents(run.store_folder)
    state = _snapshot_code(run, folder, command, contents, redactor)
    interpreter = interpreter_of(command, environment.get("PATH"), folder)
    found = None
    if interpreter is not None:
        found = installed(interpreter, run.store_folder / "sources" / "seen", env=environment, redactor=redactor)
        for name, text in environment_files(found).items() if found else ():
            run.log_text(redactor.text(text), f"environment/{name}")
    shown = redactor.command(command)
    facts = {
        "command": shown,
        "command_line": shlex.join(shown),
        "folder": folder.relative_to(state.root).as_posix() if state and folder.is_relative_to(state.root) else ".",
        "python": found["python"] if found else None,
        "git": _git_facts(state, redactor),
        "machine": machine_facts(),
        "variables": variables(environment, redactor),
    }
    run.log_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", LAUNCH_NAME)


def _snapshot_code(
    run: Run, folder: Path, command: Sequence[str], contents: Contents, redactor: Redactor
) -> GitState | None:
    listed = git_state(folder)
    state, names = listed if listed is not None else (None, None)
    sources = find_sources(folder, names, state.root if state else None, command=command)
    kept = contents.keep(sources.root, sources.files)
    data = _listing(kept, sources.excluded).encode("utf-8", "surrogateescape")
    live = run.folder.path / "live"
    live.mkdir(exist_ok=True)
    contents.link(data, "json", live / "files.json")
    run.adopt_artifact(live / "files.json", FILES_NAME)
    if state is not None:
        run.set_tags({f"mlflow.source.git.{key}": value for key, value in _git_tags(state, redactor).items() if value})
        run.set_tag(GIT_DIRTY_TAG, str(state.dirty).lower())
        if state.diff:
            run.log_text(redactor.text(state.diff), DIFF_NAME)
    return state


def _listing(kept: Mapping[str, Hashed], excluded: Mapping[str, str]) -> str:
    """One line per file, so that two listings can be compared by any tool."""
    files = {
        name: {"sha256": one.sha256, "size": one.size, **({"executable": True} if one.executable else {})}
        for name, one in kept.items()
    }
    parts = []
    for entries in (files, excluded):
        lines = [f"{json.dumps(n, ensure_ascii=False)}: {json.dumps(one)}" for n, one in sorted(entries.items())]
        parts.append("{\n" + ",\n".join(lines) + "\n}" if lines else "{}")
    return f'{{"files": {parts[0]},\n"left_out": {parts[1]}}}\n'


def _git_tags(state: GitState, redactor: Redactor) -> dict[str, str]:
    """MLflow's tags ``mlflow.source.git.*``."""
    return {"commit": state.commit, "branch": state.branch, "repoURL": redactor.text(state.remote)}


def _git_facts(state: GitState | None, redactor: Redactor) -> dict[str, Any] | None:
    if state is None:
        return None
    return {
        "commit": state.commit,
        "branch": state.branch,
        "remote": redactor.text(state.remote),
        "dirty": state.dirty,
        "untracked": sorted(state.untracked),
    }
