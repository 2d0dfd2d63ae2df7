"""The folder of a store, from a path or a ``mltrack:`` or ``file:`` URI as people write it.

A variable or an option may hold quotes that a shell would have removed, or the line break of the file it was read from:
both are removed. What can't be a folder is refused, naming that variable or option, before anything is made.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from mltrack.environment import MLTRACK_STORE
from mltrack.errors import StoreError, UsageError
from mltrack.text.printable import printable

__all__ = ["folder_of", "path_of_uri", "uri_of", "working_folder"]

SCHEME = "mltrack"

_URI = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?P<rest>.*)", re.DOTALL)
_HINT = "give a folder, or mltrack:///absolute/folder"


def folder_of(named: str | os.PathLike[str], called: str = "the store") -> Path:
    """The absolute path of the folder, which need not exist; ``called`` names the source of the text in messages.

    Raises:
        UsageError: it can't be a folder on this machine: another scheme, a host, a control character, empty.
        StoreError: it is relative, and the working folder no longer exists.
    """
    if not isinstance(named, str | os.PathLike):
        raise UsageError(f"{called} is {named!r}, which is not a path", hint=_HINT)
    text = os.fspath(named)
    if not isinstance(named, str) or os.path.isfile(os.path.join(text, "store.json")):
        return _absolute(Path(text), called)  # a store with exactly that name
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    shown = f"{called} is '{printable(text)}'"
    if not text:
        raise UsageError(f"{called} is an empty text", hint=_HINT)
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise UsageError(f"{shown}, which holds a line break or a control character", hint=_HINT)
    match = _URI.fullmatch(text)
    ours = match is not None and match["scheme"].lower() in (SCHEME, "file")
    if match is None or not (ours or match["rest"].startswith("//")):
        return _absolute(Path(text), called)
    if not ours:
        raise UsageError(f"{shown}, which is not a folder on this machine", hint=_HINT)
    path = path_of_uri(text)
    if not path or "\0" in path:
        raise UsageError(f"{shown}, which does not name a folder on this machine", hint=_HINT)
    return _absolute(Path(path), called)


def path_of_uri(uri: str) -> str | None:
    """The path in a ``mltrack:`` or ``file:`` URI, "" where it has none; None where it has a host or a query.

    ``mltrack:relative``, ``mltrack:/absolute``, ``mltrack:///absolute`` and, as for SQLite, ``mltrack:////absolute``.
    """
    rest = uri.partition(":")[2]
    if "?" in rest or "#" in rest:
        return None
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host not in ("", "localhost") or not slash:
            return None
        rest = "/" + path
    decoded = os.fsdecode(unquote_to_bytes(rest))
    return re.sub(r"\A/+", "/", decoded)  # POSIX allows two leading slashes a meaning of their own


def uri_of(folder: os.PathLike[str]) -> str:
    """The ``mltrack:`` URI of a folder, given its absolute path."""
    return f"{SCHEME}://{quote(os.fsencode(folder))}"


def working_folder() -> Path:
    """The current folder.

    Raises:
        StoreError: it no longer exists.
    """
    try:
        return Path.cwd()
    except OSError as error:
        raise StoreError(
            f"the working folder is gone ({error.strerror})",
            hint=f"cd to a folder that exists, or name the store by an absolute path in {MLTRACK_STORE}",
        ) from error


def _absolute(path: Path, called: str) -> Path:
    try:
        path = path.expanduser()
    except RuntimeError as error:  # ~ without a home folder, or ~nobody
        raise UsageError(f"{called} is {str(path)!r}: {error}", hint="give the path without ~") from error
    if not path.is_absolute():
        path = working_folder() / path
    return Path(re.sub(r"\A/+", "/", str(path)))
