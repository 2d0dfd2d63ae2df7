"""What the commands share: the store that was named, the form of a command, and the RUN argument."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from click.shell_completion import CompletionItem

    from mltrack.reading import Store

__all__ = ["RUN", "Command", "Session", "command", "json_option", "pass_session"]


class Session:
    """One call of the command line."""

    __slots__ = ("store_path",)

    def __init__(self, store_path: str | None = None) -> None:
        self.store_path = store_path

    def store(self) -> Store:
        """The store that --store or the environment names, or the nearest one.

        Raises:
            NotFoundError, StoreError: as Store.open.
        """
        from mltrack.reading import Store

        return Store.open(self.store_path)


pass_session = click.make_pass_decorator(Session, ensure=True)


class Command(click.Command):
    """A command whose help ends with examples; ``examples`` are whole command lines that the tests run."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        formatter.write_paragraph()
        with formatter.section("Example" if len(self.examples) == 1 else "Examples"):
            for line in self.examples:
                formatter.write(f"  {line}\n")


def command(name: str, summary: str, *examples: str) -> Callable[[Callable[..., Any]], Command]:
    """Make a function the command ``name``; ``summary`` stands for it in the list of commands."""
    return click.command(name, cls=Command, short_help=summary, examples=examples)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class RunParam(click.ParamType[str]):
    """A run by its id, the first digits of it, or its name; completed from the store."""

    name = "run"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Ids and names of the store's runs that begin so."""
        from click.shell_completion import CompletionItem

        from mltrack.errors import MltrackError

        session = ctx.find_object(Session) or Session(ctx.find_root().params.get("store"))
        items = []
        try:
            for run in session.store().runs():
                info = run.info
                if incomplete and run.run_id.startswith(incomplete):
                    items.append(CompletionItem(run.run_id, help=info.run_name))
                elif info.run_name.startswith(incomplete):
                    items.append(CompletionItem(info.run_name, help=run.run_id[:8]))
        except (MltrackError, OSError):
            return []  # there is nothing to complete from; the command itself will say why
        return items


RUN = RunParam()
