"""Which interpreter runs a launched program, and what is installed for it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.process.secret_patterns import Redactor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["environment_files", "installed", "interpreter_of", "is_interpreter"]

ASK_TIMEOUT_S = 60

_SHELLS = ("sh", "bash", "dash", "zsh", "ksh")
_STARTERS = (
    "env",
    "srun",
    "mpirun",
    "mpiexec",
    "nice",
    "ionice",
    "nohup",
    "time",
    "timeout",
    "taskset",
    "numactl",
    "setsid",
)

_PYTHON = re.compile(r"python[0-9.]*|pypy[0-9.]*")

_ASK = """
import importlib.metadata, json, platform, sys
found, roots = {}, set()
for one in importlib.metadata.distributions():
    name = one.metadata["Name"]
    if name and name.lower() not in found:
        origin = one.read_text("direct_url.json")
        found[name.lower()] = [name, one.version, json.loads(origin) if origin else None]
    roots.add(str(one.locate_file("")))
answer = {"python": platform.python_version(), "implementation": platform.python_implementation(),
          "prefix": sys.prefix, "packages": sorted(found.values()), "folders": sorted(roots)}
json.dump(answer, sys.stdout)
"""


def is_interpreter(program: str) -> bool:
    """Whether a path is that of a Python interpreter, going by its name."""
    return _PYTHON.fullmatch(Path(program).name) is not None


def interpreter_of(command: Sequence[str], path: str | None = None, folder: Path = Path()) -> str | None:
    """The Python interpreter that a command runs in ``folder``, with its full path.

    It is the command's first word, or that in the first line of the script it names. After a shell's ``-c``, or a
    program that only starts another (``env``, ``srun``), it is the first word that is either.
    """
    words = _after_starters(command)
    found = (_interpreter_at(word, path, folder) for word in words if not word.startswith("-"))
    return next((one for one in found if one is not None), None)


def _after_starters(command: Sequence[str]) -> list[str]:
    """The words that may name the program: the first, or more if that is one that starts others."""
    first = Path(command[0]).name
    if first in _SHELLS:
        texts = [word for option, word in pairwise(command) if option.startswith("-") and option.endswith("c")]
        return [word for text in texts[:1] for word in text.replace(";", " ").replace("&", " ").split()]
    return list(command) if first in _STARTERS else [command[0]]


def _interpreter_at(word: str, path: str | None, folder: Path) -> str | None:
    program = shutil.which(os.path.abspath(folder / word) if os.sep in word else word, path=path)
    if program is None:
        return None
    program = os.path.abspath(folder / program)  # links are kept: a virtual environment's is one
    if is_interpreter(program):
        return program
    try:
        with open(program, "rb") as file:
            first = file.readline(1024)
    except OSError:
        return None
    words = first[2:].decode("utf-8", "replace").split() if first.startswith(b"#!") else []
    named = [word for word in words if is_interpreter(word)]
    return shutil.which(named[0], path=path) if named else None


def installed(
    interpreter: str,
    cache: Path,
    *,
    env: Mapping[str, str] = os.environ,
    redactor: Redactor | None = None,
    fs: FileSystem = LOCAL,
) -> dict[str, Any] | None:
    """The packages installed for an interpreter; None if it does not answer.

    The result has ``python`` (its version), ``implementation``, ``prefix`` and ``packages`` (name, version, and origin
    as in PEP 610, or None). It is cached until a folder it was read from changes; URLs in it are without secrets.

    Args:
        interpreter: its path.
        cache: the folder of cached results.
        env: the environment it runs in.
        redactor: removes secrets from URLs.
        fs: where the cache is written.

    Raises:
        OSError: the cache can't be written.
    """
    identity = f"{interpreter}\0{env.get('PYTHONPATH', '')}\0{env.get('VIRTUAL_ENV', '')}"
    path = cache / f"python-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"
    try:
        held: dict[str, Any] = json.loads(path.read_bytes())
        if held["times"] == _times(held["found"]["folders"]):
            return dict(held["found"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    try:
        asked = subprocess.run(
            [interpreter, "-c", _ASK],
            env=dict(env),
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ASK_TIMEOUT_S,
            check=False,
        )
        found: dict[str, Any] = json.loads(asked.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    redactor = redactor or Redactor(environment=env)
    for _, _, origin in found["packages"]:
        if origin is not None and "url" in origin:
            origin["url"] = redactor.text(str(origin["url"]))
    fs.make_folder(cache)
    fs.publish_bytes(path, json.dumps({"found": found, "times": _times(found["folders"])}).encode())
    return found


def _times(folders: Sequence[str]) -> list[int]:
    times: list[int] = []
    for folder in folders:
        try:
            times.append(os.stat(folder).st_mtime_ns)
        except OSError:
            times.append(0)
    return times


def environment_files(found: Mapping[str, Any]) -> dict[str, str]:
    """Files to rebuild the environment from: for pip, and for MLflow's virtualenv and conda environments."""
    python = str(found["python"])
    needs = [_requirement(*package) for package in found["packages"]]
    listed = "".join(f"{line}\n" for line in needs)
    return {
        "requirements.txt": f"# Python {python}\n{listed}",
        "python_env.yaml": f'python: "{python}"\nbuild_dependencies:\n- pip\ndependencies:\n- -r requirements.txt\n',
        "conda.yaml": (
            f"name: mltrack\nchannels:\n- conda-forge\ndependencies:\n- python={python}\n- pip\n"
            "- pip:\n  - -r requirements.txt\n"
        ),
    }


def _requirement(name: str, version: str, origin: Mapping[str, Any] | None) -> str:
    """One line for pip: pinned, or with its origin; a comment for a package that only this machine has."""
    if origin is None:
        return f"{name}=={version}"
    url = str(origin.get("url", ""))
    control = origin.get("vcs_info")
    if control:
        return f"{name} @ {control.get('vcs', 'git')}+{url}@{control.get('commit_id', '')}"
    if url.startswith("file:"):
        kind = "editable, " if origin.get("dir_info", {}).get("editable") else ""
        return f"# {name}=={version} ({kind}from a folder of the machine it ran on)"
    return f"{name} @ {url}"
