"""What a user meant who typed the name of no command, or of no option."""

from __future__ import annotations

import difflib
import re
import shlex
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["NoSuchCommandError", "similar_commands", "what_was_meant"]

_OTHER_WORDS = {
    "list": "ls",
    "runs": "ls",
    "search": "ls",
    "info": "show",
    "describe": "show",
    "get": "show",
    "cat": "show",
    "log": "logs",
    "output": "logs",
    "plot": "metrics",
    "chart": "metrics",
    "history": "metrics",
    "tui": "top",
    "htop": "top",
    "live": "top",
    "follow": "tail",
    "query": "sql",
    "csv": "export",
    "delete": "rm",
    "remove": "rm",
    "purge": "rm",
    "undelete": "restore",
    "fsck": "check",
    "fix": "repair",
    "recover": "repair",
    "doctor": "check",
    "compact": "seal",
    "push": "sync",
    "upload": "sync",
    "download": "pull",
    "clone": "pull",
    "server": "ui",
    "dashboard": "ui",
    "web": "ui",
    "start": "run",
    "exec": "run",
    "launch": "run",
    "create": "init",
    "new": "init",
    "add": "remote",
    "remotes": "remote",
    "kill": "stop",
    "cancel": "stop",
    "guard": "watch",
    "guards": "watch",
    "alerts": "watch",
    "clean": "gc",
    "registry": "models",
    "register": "models",
    "promote": "models",
    "files": "artifacts",
    "mv": "rename",
    "comment": "note",
    "annotate": "note",
    "label": "tag",
    "spans": "traces",
    "prune": "gc",
}
"""What other programs call it."""


class NoSuchCommandError(click.UsageError):
    """There is no such command."""

    def __init__(self, name: str, close: Sequence[str], ctx: click.Context) -> None:
        super().__init__(f"there is no command {name!r}", ctx)
        self.hint = f"did you mean {' or '.join(close)}?" if close else "see: mltrack help"


def similar_commands(name: str, commands: Sequence[str]) -> list[str]:
    """The commands that ``name`` may stand for, the likeliest first; at most three."""
    word = name.lower().lstrip("-")
    known = [_OTHER_WORDS[word]] if _OTHER_WORDS.get(word) in commands else []
    begun = [command for command in commands if len(word) > 1 and command.startswith(word)]
    alike = difflib.get_close_matches(word, commands, n=3, cutoff=0.65)
    return list(dict.fromkeys([*known, *begun, *alike]))[:3]


_OTHER_OPTIONS = {
    "--where": "--filter",
    "--query": "--filter",
    "--remove": "--delete",
    "--out": "--output",
    "--sort": "--order-by",
    "--sort-by": "--order-by",
    "--head": "--limit",
}
"""What other programs call it."""


def what_was_meant(error: click.UsageError) -> tuple[str, str]:
    """What is wrong with a command line, and what to do."""
    context = error.ctx
    words = error.format_message()
    for kind in ("integer", "float"):
        for what in (f"a valid {kind} range.", f"a valid {kind}."):
            words = words.replace(what, "a whole number" if kind == "integer" else "a number")
    words = re.sub(r"\s*\n?\t", " ", words).rstrip(".")
    words = re.sub(r"is not in the range x>=(\S+)$", r"is less than \1", words)
    words = re.sub(r"is not in the range (\S+)<=x<=(\S+)$", r"is not between \1 and \2", words)
    see = f"see: {context.command_path} --help" if context is not None else ""
    if context is None:
        return words, see
    if words.startswith("Got unexpected extra argument") and context.command.name == "sql":
        return "the query is more than one word of the shell", 'put it in quotes: mltrack sql "SELECT * FROM runs"'
    name = getattr(error, "command_name", None)
    if name is not None and isinstance(context.command, click.Group):
        near = similar_commands(name, context.command.list_commands(context))
        if not near and _lists(context.command):
            near = [f"{context.command_path} ls {shlex.quote(name)}"]
        words = f"there is no command {context.command_path.partition(' ')[2]} {name}"
    elif isinstance(error, click.NoSuchOption):
        near = _similar_options(error.option_name, context)
        words = f"there is no option {error.option_name}"
    else:
        return words, see
    return words, f"did you mean {' or '.join(near)}? {see[0].upper()}{see[1:]}" if near else see


def _lists(group: click.Group) -> bool:
    """Whether what is typed after the group's name may be what to list."""
    listing = group.commands.get("ls")
    return listing is not None and any(isinstance(param, click.Argument) for param in listing.params)


def _similar_options(name: str, context: click.Context) -> list[str]:
    known = [option for param in context.command.get_params(context) for option in param.opts if option[:2] == "--"]
    meant = _OTHER_OPTIONS.get(name)
    if meant in known:
        return [meant]
    begun = [option for option in known if len(name) > 3 and option.startswith(name)]
    alike = difflib.get_close_matches(name, known, n=3, cutoff=0.7)
    return list(dict.fromkeys([*begun, *alike]))[:3]
