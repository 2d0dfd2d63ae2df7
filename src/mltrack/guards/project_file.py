"""Guards in ``mltrack.toml``, which is looked for in the working folder and upward: never in a store.

A store may come from anybody; what a file of the user's project says may run commands.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from mltrack.disk.filesystem import open_regular
from mltrack.disk.store_path import working_folder
from mltrack.disk.trust import is_own_file
from mltrack.errors import NotFoundError, StoreError, UsageError
from mltrack.guards.rules import Guard, missing_variable

__all__ = ["PROJECT_FILE", "ProjectGuards", "find_project_file", "project_guards", "read_guards"]

PROJECT_FILE = "mltrack.toml"
FILE_BYTES_MAX = 1 << 20

_KEYS: dict[str, tuple[type, ...]] = {
    "when": (str,),
    "sql": (str,),
    "stop": (bool,),
    "tag": (str,),
    "command": (str, list),
    "webhook": (str,),
    "experiments": (str, list),
}


class ProjectGuards(NamedTuple):
    """The guards of a file, and what of it is left out, in words."""

    path: Path
    guards: list[Guard]
    left_out: tuple[str, ...] = ()


def find_project_file(start: Path | None = None) -> Path | None:
    """The nearest mltrack.toml, from the working folder upward."""
    try:
        here = working_folder() if start is None else start
    except StoreError:  # the folder is gone, which matters to others
        return None
    places = (folder / PROJECT_FILE for folder in (here, *here.parents))
    return next((place for place in places if os.path.isfile(place)), None)  # False also where that can't be known


def project_guards(path: Path | None = None) -> ProjectGuards | None:
    """The guards of ``path``, else of the nearest mltrack.toml; None if there is no such file.

    Commands and webhooks are left out where another user can have written a file that was found upward, and a webhook
    that needs a variable which is not set.

    Raises:
        NotFoundError: there is no file ``path``.
        UsageError: the file can't be read, or a guard is invalid.
    """
    found = find_project_file() if path is None else path
    if found is None:
        return None
    left_out: list[str] = []
    guards = read_guards(found, left_out)
    if path is None and not is_own_file(found) and any(one.command or one.webhook for one in guards):
        guards = [replace(one, command=(), webhook="") for one in guards]
        left_out.append(f"commands and webhooks of {found}: others can write it")
    return ProjectGuards(found, guards, tuple(left_out))


def read_guards(path: Path, left_out: list[str] | None = None) -> list[Guard]:
    """The guards in a file: its tables ``[guards.NAME]``. Other tables are left to others.

    ``left_out`` gets what is not used: a webhook that needs a variable which is not set. Without it that is an error.

    Raises:
        NotFoundError: there is no such file.
        UsageError: it can't be read, or a guard is invalid.
    """
    try:
        with open(open_regular(path), "rb") as file:
            tables = tomllib.loads(file.read(FILE_BYTES_MAX).decode())
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {path}", hint="name another: --guards PATH") from None
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}", hint="check its permissions") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not TOML: {error}", hint="see docs/guards.md") from error
    found = tables.get("guards", {})
    if "guards" not in tables and "guard" in tables:
        raise UsageError(f"{path}: guards are tables [guards.NAME], not [guard]", hint="see docs/guards.md")
    if not isinstance(found, dict):
        raise UsageError(f"{path}: guards is not a table", hint="write [guards.NAME]")
    return [_guard(path, name, table, left_out) for name, table in found.items()]


def _guard(path: Path, name: str, table: Any, left_out: list[str] | None) -> Guard:
    where = f"{path}, [guards.{name}]"
    if isinstance(table, str):
        table = {"when": table}
    if not isinstance(table, dict):
        raise UsageError(f"{where} is not a table", hint='write when = "loss is NaN" below it')
    for key, value in table.items():
        if key not in _KEYS:
            raise UsageError(f"{where}: there is no setting {key!r}", hint=f"one of {', '.join(_KEYS)}")
        if not isinstance(value, _KEYS[key]) or (
            isinstance(value, list) and not all(isinstance(x, str) for x in value)
        ):
            takes = (
                "true or false"
                if bool in _KEYS[key]
                else "a text, or a list of texts"
                if list in _KEYS[key]
                else "a text"
            )
            raise UsageError(f"{where}: {key} = {value!r}, but it takes {takes}", hint="see docs/guards.md")
    fields = dict(table)
    if ("when" in fields) == ("sql" in fields):
        raise UsageError(f"{where} needs one of when and sql", hint='write when = "loss is NaN"')
    fields["when"] = fields.pop("sql", fields.get("when"))
    missing = missing_variable(fields.get("webhook", ""))
    if missing and left_out is not None:
        left_out.append(f"{where}: its webhook, as {missing} is not set")
        del fields["webhook"]
    try:
        return Guard(name=name, **fields)
    except UsageError as error:
        raise UsageError(f"{where}: {error}", hint=error.hint) from error
