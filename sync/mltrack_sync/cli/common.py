"""What the commands that talk to remotes share: their base class, and the options that name store and remote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from mltrack.errors import MltrackError, UsageError
from mltrack.text.commands import PARTIAL, Command, json_option
from mltrack.text.counting import plural
from mltrack.text.printing import say, styled
from mltrack.text.shown import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

    from mltrack.store import Store
    from mltrack_sync.http.rate_limit import RateLimiter
    from mltrack_sync.report import Rejected

    TextParam = click.ParamType[str]
else:
    TextParam = click.ParamType  # generic since click 8.4 only

__all__ = [
    "PARTIAL",
    "Command",
    "artifact_bytes_max",
    "artifact_options",
    "json_option",
    "open_store",
    "print_rejected",
    "rate_limiter",
    "rate_option",
    "remote_argument",
    "selection_options",
]

SHOWN_REJECTED_MAX = 20
RETRIED = (
    "What was refused with a whole run or experiment is tried again by each sync; the rest, once the reason is gone, by"
    " mltrack sync --retry-rejected"
)


def selection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--run, --experiment and --filter, as sync has them."""
    filtering = "Only runs that match (MLflow's grammar)."
    named = "Only this run (id, first digits, or name); may be repeated."
    one_experiment = "Only runs of this one; may be repeated."
    for option in (
        click.option("-f", "--filter", "filter_string", default="", metavar="EXPR", help=filtering),
        click.option("-e", "--experiment", "experiments", multiple=True, metavar="NAME", help=one_experiment),
        click.option("-r", "--run", "runs", multiple=True, metavar="RUN", help=named),
    ):
        command = option(command)
    return command


def artifact_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--no-artifacts and --max-artifact-size, for thin copies."""
    for option in (
        click.option("--max-artifact-size", metavar="SIZE", help="Leave out larger files of artifacts: 10M, 500k."),
        click.option("--no-artifacts", is_flag=True, help="Leave out all files of artifacts."),
    ):
        command = option(command)
    return command


def artifact_bytes_max(no_artifacts: bool, size: str | None) -> int | None:
    """The largest artifact that is wanted, by these options; None is no limit.

    Raises:
        UsageError: both were given, or the size is not one.
    """
    from mltrack_sync.remotes.sizes import parse_size

    if no_artifacts and size is not None:
        raise UsageError("--no-artifacts and --max-artifact-size can't be used together", hint="leave one of them out")
    if no_artifacts:
        return 0
    return None if size is None else parse_size(size)


rate_option = click.option("--limit-rate", metavar="RATE", help="Limit on bytes a second, in all: 2M, 500k.")


def rate_limiter(rate: str | None) -> RateLimiter | None:
    """What keeps to the rate of ``--limit-rate``; None is no limit.

    Raises:
        UsageError: it is not a rate.
    """
    from mltrack_sync.http.rate_limit import RateLimiter, parse_rate

    return None if rate is None else RateLimiter(parse_rate(rate))


class _RemoteName(TextParam):
    """A remote by name, URL or path; names are completed."""

    name = "remote"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The names that the store knows; nothing where it can't be read."""
        from click.shell_completion import CompletionItem

        from mltrack.disk.remotes_file import remote_tables

        try:
            names = remote_tables(open_store(ctx).path / "remotes.toml")
        except (MltrackError, OSError):
            return []
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


remote_argument = click.argument("remote", required=False, type=_RemoteName())


def open_store(ctx: click.Context) -> Store:
    """The store that the command line or the environment names, or the nearest one."""
    from mltrack.store import Store

    named = ctx.obj.get("store") if isinstance(ctx.obj, Mapping) else getattr(ctx.obj, "store_path", None)
    store = Store.open(named)
    met = getattr(ctx.obj, "damage", None)
    if met is not None:
        store.on_damage = met.append
    return store


def print_rejected(rejected: tuple[Rejected, ...]) -> None:
    """Print what a remote rejected, with its reasons, up to a number of lines."""
    for item in rejected[:SHOWN_REJECTED_MAX]:
        many = f" ({plural(item.points, 'point')})" if item.points else ""
        what = f"{item.kind} {shown(item.key)}" if item.key else item.kind
        whose = f"run {item.run_id[:8]} " if item.run_id else ""
        say(styled(f"rejected: {whose}{what}{many}: {item.reason}", fg="yellow"))
    if rejected:
        say(styled(RETRIED, fg="yellow"))
    if len(rejected) > SHOWN_REJECTED_MAX:
        say(styled(f"... and {len(rejected) - SHOWN_REJECTED_MAX} more (--json lists all)", fg="yellow"))
