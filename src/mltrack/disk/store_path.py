"""The folder that a text means as a store: a path, or a URI of ``mltrack:`` or ``file:``, as people write it.

A variable or an option may hold quotes that a shell would have removed, or the line break of the file it was read from:
both go. What can't be a folder is refused by the name of what holds it, before anything is made.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from mltrack.errors import StoreError, UsageError
from mltrack.text.printable import printable

__all__ = ["STORE_VARIABLE", "folder_of", "path_of_uri", "uri_of", "working_folder"]

STORE_VARIABLE = "MLTRACK_STORE"
SCHEME = "mltrack"

_URI = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?P<rest>.*)", re.DOTALL)
_HINT = "give a folder, or mltrack:///absolute/folder"


def folder_of(named: str | os.PathLike[str], called: str = "the store") -> Path:
    """The absolute path of the folder that is meant; ``called`` is what holds the text. It need not exist.

    Raises:
        UsageError: it can't be a folder on this machine: another scheme, a host, a control sign, nothing at all.
        StoreError: it is relative, and the working folder is gone.
    """
    text = os.fspath(named)
    if not isinstance(named, str) or os.path.isfile(os.path.join(text, "store.json")):
        return _absolute(Path(text), called)  # a store that is called exactly so
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    shown = f"{called} is '{printable(text)}'"
    if not text:
        raise UsageError(f"{called} is empty", hint=_HINT)
    if any(ord(sign) < 32 or ord(sign) == 127 for sign in text):
        raise UsageError(f"{shown}, which holds a line break or a control sign", hint=_HINT)
    match = _URI.fullmatch(text)
    ours = match is not None and match["scheme"].lower() in (SCHEME, "file")
    if match is None or not (ours or match["rest"].startswith("//")):
        return _absolute(Path(text), called)
    if not ours:
        raise UsageError(f"{shown}, which is not a folder on this machine", hint=_HINT)
    path = path_of_uri(text)
    if not path or "\0" in path:
        raise UsageError(f"{shown}, which names no folder on this machine", hint=_HINT)
    return _absolute(Path(path), called)


def path_of_uri(uri: str) -> str | None:
    """The path in a URI of ``mltrack:`` or ``file:``, "" where it has none; None where it has a host or a query.

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
    return re.sub(r"\A/+", "/", decoded)  # two slashes in front would be kept as they are, by POSIX's leave


def uri_of(folder: os.PathLike[str]) -> str:
    """The URI of ``mltrack:`` for a folder, given its absolute path."""
    return f"{SCHEME}://{quote(os.fsencode(folder))}"


def working_folder() -> Path:
    """The current folder.

    Raises:
        StoreError: it is gone.
    """
    try:
        return Path.cwd()
    except OSError as error:
        raise StoreError(
            f"the working folder is gone ({error.strerror})",
            hint=f"cd to a folder that exists, or name the store by an absolute path in {STORE_VARIABLE}",
        ) from error


def _absolute(path: Path, called: str) -> Path:
    try:
        path = path.expanduser()
    except RuntimeError as error:  # ~ where nobody knows a home, or ~nobody
        raise UsageError(f"{called} is {str(path)!r}: {error}", hint="give the path without ~") from error
    if not path.is_absolute():
        path = working_folder() / path
    return Path(re.sub(r"\A/+", "/", str(path)))
