"""Reading a store's ``remotes.toml``, which anybody may have written: whole, or with one error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mltrack.disk.filesystem import read_small
from mltrack.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["remote_tables"]


HINT = "fix the file by hand, or remove it and add the remotes again"


def remote_tables(path: Path) -> dict[str, dict[str, Any]]:
    """What the file says of each remote, by name; nothing where there is no file. Each has a ``url``.

    Raises:
        StoreError: it can't be read, or names a remote without a URL.
    """
    tables = _read(path)
    if not isinstance(tables, dict) or not all(isinstance(t, dict) and "url" in t for t in tables.values()):
        raise StoreError(f"{path} names a remote without a url", hint="fix the file by hand")
    return tables


def _read(path: Path) -> Any:
    import tomllib

    try:
        return tomllib.loads(read_small(path).decode("utf-8")).get("remotes", {})
    except FileNotFoundError:
        return {}
    except RecursionError:
        raise StoreError(f"{path} is nested too deeply", hint=HINT) from None
    except OSError as error:
        raise StoreError(f"{path} can't be read: {error.strerror or error}", hint="check its permissions") from error
    except UnicodeDecodeError as error:
        raise StoreError(f"{path} can't be read: it is not UTF-8", hint=HINT) from error
    except ValueError as error:  # not only tomllib's own error: a number of thousands of digits raises another
        raise StoreError(f"{path} is not TOML: {error}", hint=HINT) from error
