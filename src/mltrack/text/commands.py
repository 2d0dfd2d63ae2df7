"""The form of a command of the command line, wherever it is defined."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PARTIAL", "Command", "artifacts_from_option", "json_option"]

PARTIAL = 3
"""The exit code of a command that did only a part; the rest is listed."""


class Command(click.Command):
    """A command whose help ends with examples; ``examples`` are whole command lines that the tests run."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the arguments; what is wrong with them is said with how the command is used."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; what it could not read or verify is listed at its end, and makes the exit code PARTIAL."""
        code = 0
        try:
            result = super().invoke(ctx)
        except click.exceptions.Exit as exiting:
            result, code = None, exiting.exit_code
        except BaseException:
            _report_damage(ctx)
            raise
        if _report_damage(ctx) and not code:
            code = PARTIAL
        if code:
            raise click.exceptions.Exit(code)
        return result

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        with formatter.section("Example" if len(self.examples) == 1 else "Examples"):
            for line in self.examples:
                formatter.write(f"  {line}\n")


def _report_damage(ctx: click.Context) -> bool:
    """Have the call's session, if there is one, list what it could not read; whether there is any."""
    report = getattr(ctx.obj, "report_damage", None)
    return bool(report is not None and report())


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

artifacts_from_option = click.option(
    "--artifacts-from",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Take files from this folder too, where SOURCE has addresses of, or links to, files in it.",
)
