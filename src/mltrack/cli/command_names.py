"""What a user meant who typed the name of no command."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["NoSuchCommandError", "similar_commands"]

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
