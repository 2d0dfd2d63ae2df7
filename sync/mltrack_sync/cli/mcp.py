"""The command ``mcp``, found by mltrack's CLI by entry point."""

from __future__ import annotations

import click

from mltrack_sync.cli.common import Command, open_store

__all__ = ["commands", "mcp"]


@click.command(
    "mcp",
    short_help="Let assistants and agents ask the store (MCP).",
    cls=Command,
    examples=["mltrack mcp", "mltrack mcp --allow-writes"],
)
@click.option("--allow-writes", is_flag=True, help="Also let programs set tags and notes of runs, and stop runs.")
@click.pass_context
def mcp(ctx: click.Context, allow_writes: bool) -> None:
    """Serve the store by the Model Context Protocol, on standard input and output.

    A client (an assistant in an editor, an agent) starts this itself. It can search, compare and read runs, metrics,
    logs and the state of remotes; it changes nothing unless you say so.
    """
    from mltrack_sync.mcp.server import make_server  # which needs the extra

    make_server(open_store(ctx), writes=allow_writes).run("stdio")


commands: list[click.Command] = [mcp]
