"""Reading a store's ``remotes.toml``, which anybody may have written: whole, or with one error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mltrack.disk.filesystem import read_small
from mltrack.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["remotes_in"]


def remotes_in(path: Path) -> Any:
    """The file's ``remotes``, of whatever type; an empty dict where there is no file.

    Raises:
        StoreError: it can't be read.
    """
    import tomllib

    hint = "fix the file by hand, or remove it and add the remotes again"
    try:
        return tomllib.loads(read_small(path).decode("utf-8")).get("remotes", {})
    except FileNotFoundError:
        return {}
    except RecursionError:
        raise StoreError(f"{path} is nested too deeply", hint=hint) from None
    except OSError as error:
        raise StoreError(f"{path} can't be read: {error.strerror or error}", hint="check its permissions") from error
    except UnicodeDecodeError as error:
        raise StoreError(f"{path} can't be read: it is not UTF-8", hint=hint) from error
    except ValueError as error:  # not only tomllib's own error: a number of thousands of digits raises another
        raise StoreError(f"{path} is not TOML: {error}", hint=hint) from error
