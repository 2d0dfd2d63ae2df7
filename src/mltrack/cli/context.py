"""Shared by the commands: the chosen store, the form of a command, and the RUN argument."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from mltrack.environment import MLTRACK_STORE
from mltrack.text.commands import Command, json_option

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.shell_completion import CompletionItem

    from mltrack.disk.layout import Layout
    from mltrack.errors import CorruptionError
    from mltrack.store import Store

    TextParam = click.ParamType[str]
else:
    TextParam = click.ParamType  # generic since click 8.4 only

__all__ = [
    "RUN",
    "Command",
    "Session",
    "command",
    "experiments_option",
    "filter_option",
    "json_option",
    "pass_session",
]

DAMAGE_SHOWN_MAX = 20

COMPLETED_MAX = 100
"""How many ids, and how many names, shell completion offers."""


def _say_reading(runs: int) -> None:
    """Say why an answer takes seconds, to a person."""
    from mltrack.text.printing import note

    if sys.stderr.isatty():
        note(f"reading {runs:,} runs that are new here; the next answer comes at once")


class Session:
    """One call of the command line."""

    __slots__ = ("_said_where", "damage", "store_path")

    def __init__(self, store_path: str | None = None) -> None:
        self.store_path = store_path
        self._said_where = False
        self.damage: list[CorruptionError] = []  # what the command could not read or verify

    def store(self) -> Store:
        """The store of --store or the environment, or the nearest one.

        Raises:
            NotFoundError, StoreError: as Store.open.
        """
        from mltrack.store import Store

        store = Store(self.layout())
        store.on_damage = self.damage.append
        store.on_reading = _say_reading
        return store

    def layout(self) -> Layout:
        """Where that store is: known before what reads it is imported.

        Raises:
            NotFoundError, StoreError: as Store.open.
        """
        from mltrack.disk.layout import Layout, find_store

        found = Layout.open(find_store(self.store_path))
        if self.store_path is None and not os.environ.get(MLTRACK_STORE):
            self._say_where(found.root)
        return found

    def _say_where(self, folder: Path) -> None:
        """Name a store that was found where its user may not think of it; once."""
        from mltrack.disk.found_store import words_on_place
        from mltrack.text.printing import say

        place = None if self._said_where else words_on_place(folder)
        self._said_where = True
        if place is not None:
            say(f"note: the store {folder} was {place}", err=True)

    def create_store(self) -> Store:
        """The same, created if it does not exist.

        Raises:
            StoreError: it can't be created, or can't be used as it is.
        """
        from mltrack.store import Store

        store = Store.create(self.store_path)
        store.on_damage = self.damage.append
        return store

    def report_damage(self) -> bool:
        """List on stderr what could not be read or verified, so is not in the output; whether there is any."""
        from mltrack.text.printing import say

        for error in self.damage[:DAMAGE_SHOWN_MAX]:
            say(f"warning: not in the output: {error}", err=True)
        if len(self.damage) > DAMAGE_SHOWN_MAX:
            say(f"warning: and {len(self.damage) - DAMAGE_SHOWN_MAX:,} more places: see mltrack check", err=True)
        return bool(self.damage)


pass_session = click.make_pass_decorator(Session, ensure=True)


def command(name: str, summary: str, *examples: str) -> Callable[[Callable[..., Any]], Command]:
    """Make a function the command ``name``; ``summary`` describes it in the list of commands."""
    return click.command(name, cls=Command, short_help=summary, examples=examples)


experiments_option = click.option(
    "-e", "--experiment", "experiments", multiple=True, metavar="NAME", help="Only runs of this one; may be repeated."
)
filter_option = click.option(
    "-f", "--filter", "filter_string", default="", metavar="EXPR", help="Only runs that match (MLflow's grammar)."
)


class RunParam(TextParam):
    """A run by its id, the id's first digits, or its name; completed from the store."""

    name = "run"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Ids and names of matching runs; those of deleted runs for `mltrack restore`."""
        from click.shell_completion import CompletionItem

        from mltrack.cli.select import find_runs
        from mltrack.errors import MltrackError

        session = ctx.find_object(Session) or Session(ctx.find_root().params.get("store"))
        deleted = ctx.info_name == "restore"
        try:
            store = session.store()
            ids = [run_id for run_id in store.run_ids() if incomplete and run_id.startswith(incomplete)]
            runs = find_runs(store, filter_string=_begins(incomplete), limit=COMPLETED_MAX, deleted=deleted)
        except (MltrackError, OSError):
            return []  # nothing to complete; the command itself reports why
        names = [CompletionItem(run.info.run_name, help=run.info.run_id[:8]) for run in runs]
        return [*names, *map(CompletionItem, ids[:COMPLETED_MAX])]


def _begins(text: str) -> str:
    """A filter for names that begin with ``text``, as far as the grammar allows."""
    plain = "".join("_" if sign in "'\"\\%" else sign for sign in text)
    return f"attributes.run_name LIKE '{plain}%'" if text else ""


RUN = RunParam()
