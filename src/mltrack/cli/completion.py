"""`mltrack completion`: the script by which a shell completes commands, options, run ids and run names."""

from __future__ import annotations

import click

from mltrack.cli.context import command

__all__ = ["completion"]


@command("completion", "Print a shell completion script.", "mltrack completion bash", "mltrack completion fish")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for a shell.

    \b
    bash:  eval "$(mltrack completion bash)"                          in ~/.bashrc
    zsh:   eval "$(mltrack completion zsh)"                           in ~/.zshrc
    fish:  mltrack completion fish > ~/.config/fish/completions/mltrack.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"{shell} is not supported here")
    click.echo(kind(ctx.find_root().command, {}, "mltrack", "_MLTRACK_COMPLETE").source())
