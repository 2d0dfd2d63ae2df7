"""``mltrack help``: the help of the program or of one command, for who looks for it by that name."""

from __future__ import annotations

import click

from mltrack.cli.context import command
from mltrack.text.printing import say

__all__ = ["help_"]


@command("help", "Show the help of a command.", "mltrack help sync")
@click.argument("names", metavar="[COMMAND]...", nargs=-1)
@click.pass_context
def help_(ctx: click.Context, names: tuple[str, ...]) -> None:
    """Show the help of a command, or the list of all commands.

    It is what the option --help of the command shows.
    """
    found = ctx.find_root()
    for name in names:
        group = found.command
        if not isinstance(group, click.Group):
            raise click.UsageError(f"{found.info_name} has no commands of its own", found)
        _, shown, _ = group.resolve_command(found, [name])
        if shown is None:  # only while the shell completes a line
            break
        found = click.Context(shown, parent=found, info_name=name)
    for line in found.get_help().splitlines():
        say(line)
