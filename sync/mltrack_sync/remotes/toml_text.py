"""The text of remotes.toml with a remote added, changed or removed: comments and the order of the others are kept."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Comment, InlineTable, Table

from mltrack.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tomlkit import TOMLDocument

__all__ = ["with_fields", "with_remote", "with_tables", "without_remote"]

REMOTES = "remotes"


def with_remote(text: str, name: str, fields: Mapping[str, str]) -> str:
    """The text with one remote added after the others.

    Raises:
        StoreError: the text is written in a way that can't be added to.
    """
    document = _parsed(text)
    remotes = document.setdefault(REMOTES, tomlkit.table(is_super_table=True))
    table = tomlkit.inline_table() if isinstance(remotes, InlineTable) else tomlkit.table()
    table.update(fields)
    remotes[name] = table
    return _checked(document, {**_tables(text), name: dict(fields)})


def with_fields(text: str, name: str, fields: Mapping[str, int | str | None]) -> str:
    """The text with these fields of one remote set; None removes one.

    Raises:
        StoreError: the text is written in a way that can't be changed.
    """
    document, tables = _parsed(text), _tables(text)
    table: Any = document[REMOTES]
    table = table[name]
    wanted = dict(tables[name])
    for key, value in fields.items():
        if value is None:
            table.pop(key, None)
            wanted.pop(key, None)
        else:
            table[key] = wanted[key] = value
    return _checked(document, {**tables, name: wanted})


def without_remote(text: str, name: str) -> str:
    """The text without one remote; comments below its last field, which stand above the next one, stay.

    Raises:
        StoreError: the text is written in a way that can't be changed.
    """
    document = _parsed(text)
    remotes: Any = document[REMOTES]
    names = list(remotes)
    left = _comments_below(remotes[name])
    remotes.pop(name)
    before = names.index(name) - 1
    heir = remotes[names[before]] if before >= 0 else None
    prefix = ""
    if isinstance(heir, Table):
        for line in left:
            heir.add(tomlkit.comment(line))
    else:
        prefix = "".join(f"# {line}\n" for line in left)
    tables = {other: fields for other, fields in _tables(text).items() if other != name}
    return prefix + _checked(document, tables)


def with_tables(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """The text of a file with these remotes and nothing else."""
    document = tomlkit.document()
    remotes = tomlkit.table(is_super_table=True)
    for name, fields in tables.items():
        table = tomlkit.table()
        table.update(fields)
        remotes[name] = table
    if tables:
        document[REMOTES] = remotes
    return tomlkit.dumps(document)


def _comments_below(table: Any) -> list[str]:
    """The comments on lines of their own after the last field of a table."""
    if not isinstance(table, Table):
        return []
    found: list[str] = []
    for key, item in table.value.body:
        if key is not None:
            found = []
        elif isinstance(item, Comment):
            found.append(item.trivia.comment.removeprefix("#").strip())
    return found


def _parsed(text: str) -> TOMLDocument:
    try:
        return tomlkit.parse(text)
    except (TOMLKitError, RecursionError) as error:
        raise _not_changed(str(error)) from error


def _tables(text: str) -> dict[str, Any]:
    return dict(tomllib.loads(text).get(REMOTES, {}))


def _checked(document: TOMLDocument, tables: Mapping[str, Any]) -> str:
    """The document's text, which is only returned if it reads back as these remotes."""
    text = tomlkit.dumps(document)
    try:
        written = _tables(text)
    except ValueError as error:
        raise _not_changed(str(error)) from error
    if written != tables:
        raise _not_changed("its remotes are not all in tables of their own")
    return text


def _not_changed(why: str) -> StoreError:
    return StoreError(f"remotes.toml can't be changed here: {why}", hint="edit the file by hand")
