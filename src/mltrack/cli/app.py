"""The group of commands: each loaded when it is used, those of other packages through entry points."""

from __future__ import annotations

import sys
import traceback
from contextlib import redirect_stderr
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.core import ParameterSource

from mltrack.cli.command_names import NoSuchCommandError, similar_commands
from mltrack.cli.context import Session
from mltrack.cli.exit_codes import BROKEN_PIPE, EXIT_CODES, FAILURE, exit_code, report
from mltrack.environment import MLTRACK_STORE
from mltrack.errors import MltrackError
from mltrack.text.printing import mute, prepare_streams, say
from mltrack.text.redaction import Redacting, hide

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.metadata import EntryPoint

__all__ = ["cli", "main"]

ENTRY_POINTS = "mltrack.commands"
"""Entry points of this group name a list of click commands."""

_SECTIONS = {
    "Record and launch": {
        "run": "launch",
        "watch": "guards",
        "stop": "guards",
        "reproduce": "launch",
        "init": "manage",
        "import": "import_",
        "demo": "demo",
    },
    "Inspect": {
        "ls": "runs",
        "top": "top",
        "experiments": "experiments",
        "models": "models",
        "traces": "traces",
        "artifacts": "artifacts",
        "show": "show",
        "tail": "metrics",
        "logs": "launch",
        "metrics": "metrics",
        "compare": "compare",
        "diff": "diff",
        "report": "report",
        "sql": "sql",
        "export": "export",
    },
    "Serve": {"ui": "serve", "serve": "serve"},
    "Sync": {},  # added by entry points
    "Maintain": {
        "tag": "edit",
        "note": "edit",
        "rename": "edit",
        "rm": "manage",
        "restore": "manage",
        "rewind": "rewind",
        "fork": "rewind",
        "check": "check",
        "repair": "check",
        "seal": "manage",
        "completion": "completion",
        "help": "help_command",
    },
}
_ELSEWHERE = {"mcp": "Serve"}
"""The sections of commands of other packages that are not about remotes."""

_MODULE_OF = {name: module for names in _SECTIONS.values() for name, module in names.items()}
_FUNCTIONS = {"import": "import_", "help": "help_"}  # those whose name is a word of Python's


class Commands(click.Group):
    """mltrack's commands, each imported when it is used, and those found through entry points."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, mltrack's first."""
        return [*_MODULE_OF, *(name for name in _found() if name not in _MODULE_OF)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One command, with --store added, so that it may also come after the command's name."""
        found: click.Command | None
        if cmd_name in _MODULE_OF:
            module = import_module(f"mltrack.cli.{_MODULE_OF[cmd_name]}")
            found = getattr(module, _FUNCTIONS.get(cmd_name, cmd_name))
        else:
            found = _found().get(cmd_name)
        if found is not None:
            for leaf in _leaves(found):
                if not any("--store" in param.opts for param in leaf.params):
                    leaf.params.append(_store_option())
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that was typed; where there is none of that name, the error says which ones are like it."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = similar_commands(args[0], self.list_commands(ctx))
            raise NoSuchCommandError(args[0], close, ctx) from error

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the command line, which prints the help; a broken pipe ends it quietly."""
        try:
            return super().make_context(*args, **kwargs)
        except BrokenPipeError:
            _end_quietly()

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a broken pipe, or a Ctrl-C, ends it quietly."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _end_quietly()
        except RuntimeError as error:
            if str(error) == "Query interrupted":  # DuckDB's error for Ctrl-C
                raise KeyboardInterrupt from error
            raise
        return result

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands in sections."""
        names = self.list_commands(ctx)
        others = sorted((name for name in names if name not in _MODULE_OF), key=_place_of)
        placed = {title: [name for name in others if _ELSEWHERE.get(name) == title] for title in _SECTIONS}
        rest = [name for name in others if name not in _ELSEWHERE]
        sections = {title: [*known, *placed[title]] or rest for title, known in _SECTIONS.items()}
        width = max(len(name) for name in names)
        for title, known in sections.items():
            found = [(name, self.get_command(ctx, name)) for name in known]
            room = formatter.width - 6 - width
            rows = [(name.ljust(width), command.get_short_help_str(room)) for name, command in found if command]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit codes, and an example."""
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), text) for code, text in EXIT_CODES.items()])
        with formatter.section("Start with"):
            formatter.write("  mltrack demo\n")


def _place_of(name: str) -> tuple[int, str]:
    """Commands of other packages: those used most often first, those that nobody types last."""
    often = ("sync", "pull", "status", "verify", "remote", "fetch")
    last = ("serve-store",)
    return (often.index(name) if name in often else len(often) + (name in last), name)


def _end_quietly() -> NoReturn:
    mute(sys.stdout)
    raise click.exceptions.Exit(BROKEN_PIPE)


def _leaves(command: click.Command) -> Iterator[click.Command]:
    if isinstance(command, click.Group):
        for child in command.commands.values():
            yield from _leaves(child)
    else:
        yield command


_loaded: dict[str, click.Command] | None = None


def _found() -> dict[str, click.Command]:
    """Commands of other packages by name; one that can't be imported is skipped with a warning."""
    global _loaded
    if _loaded is None:
        from importlib.metadata import entry_points

        _loaded = {}
        for entry in entry_points(group=ENTRY_POINTS):
            _loaded |= {str(command.name): command for command in _commands_of(entry)}
    return _loaded


def _commands_of(entry: EntryPoint) -> Sequence[click.Command]:
    try:
        commands: Sequence[click.Command] = entry.load()
    except (ImportError, AttributeError) as error:
        say(f"warning: the commands of {entry.value} can't be loaded: {error}", err=True)
        return []
    return commands


def _set_store(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.ensure_object(Session).store_path = value


def _store_option() -> click.Option:
    return click.Option(
        ["--store"],
        type=click.Path(),
        metavar="PATH",
        expose_value=False,
        callback=_set_store,
        help="The store's folder (also before the command).",
    )


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        say(f"mltrack {version('mltrack-local')}")
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version and exit."
)
@click.option(
    "--store",
    type=click.Path(),
    metavar="PATH",
    envvar=MLTRACK_STORE,
    show_envvar=True,
    help="The store's folder; by default the nearest .mltrack in this or a parent folder.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as after the command.")
@click.pass_context
def cli(ctx: click.Context, store: str | None, as_json: bool) -> None:
    """Record training runs locally, query them, and push them to an MLflow server when there is one."""
    if as_json:
        ctx.default_map = _json_defaults(ctx)
    from_environment = ctx.get_parameter_source("store") is ParameterSource.ENVIRONMENT  # which Store.open reads itself
    ctx.ensure_object(Session).store_path = None if from_environment else store


def _json_defaults(ctx: click.Context) -> dict[str, Any]:
    """What makes ``--json`` the default of the command that is called.

    Raises:
        UsageError: it has no such option.
    """
    name = ctx.invoked_subcommand or ""
    found = ctx.command.get_command(ctx, name) if isinstance(ctx.command, click.Group) else None
    defaults = _defaults_of(found) if found is not None else {}
    if not defaults:
        raise click.UsageError(f"mltrack {name} prints no JSON", ctx)
    return {name: defaults}


def _defaults_of(command: click.Command) -> dict[str, Any]:
    if isinstance(command, click.Group):
        return {name: found for name, child in command.commands.items() if (found := _defaults_of(child))}
    return {"as_json": True} if any(param.name == "as_json" for param in command.params) else {}


def main(args: Sequence[str] | None = None) -> int:
    """Run one command line (``sys.argv`` when none is given); returns its exit code."""
    prepare_streams()
    with redirect_stderr(Redacting(sys.stderr)):
        return _run(args)


def _run(args: Sequence[str] | None) -> int:
    try:
        result = cli.main(args, prog_name="mltrack", standalone_mode=False)
        code = result if isinstance(result, int) else 0
    except (MltrackError, click.ClickException, click.Abort, KeyboardInterrupt, OSError) as error:
        report(error)
        code = exit_code(error)
    except Exception:  # noqa: BLE001  # a bug: shown with its traceback, without secrets
        for line in hide(traceback.format_exc()).splitlines():
            say(line, err=True)
        code = FAILURE
    try:
        sys.stdout.flush()
    except OSError as error:  # the last output can't be written
        mute(sys.stdout)
        if not code:
            report(OSError(error.errno, error.strerror, "standard output"))
            code = exit_code(error)
    return code
