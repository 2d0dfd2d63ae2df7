"""Command lines run in this process: mltrack's own, and those of mltrack_sync by themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import click
from click.testing import CliRunner, Result

from mltrack.store import Store
from mltrack_sync.cli.bundle import commands as bundle_commands
from mltrack_sync.cli.pull import commands as pull_commands
from mltrack_sync.cli.remote import commands as remote_commands
from mltrack_sync.cli.sync import commands as sync_commands
from mltrack_sync.cli.verify import commands as trust_commands


class Said(NamedTuple):
    """What a command line answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Said]
"""Runs one command line of mltrack's."""


def without_waits(err: str) -> list[str]:
    """The lines of a command's stderr, but for what a machine that is busy makes it wait for."""
    return [line for line in err.splitlines() if not line.startswith("waiting for ")]


@click.group()
@click.pass_context
def _sync_cli(ctx: click.Context) -> None:
    pass


for each in (*sync_commands, *pull_commands, *bundle_commands, *remote_commands, *trust_commands):
    _sync_cli.add_command(each)


def run(store: Store, *args: str) -> Result:
    """Run a command of mltrack_sync on a store."""
    result = CliRunner().invoke(_sync_cli, args, obj={"store": str(store.path)})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
