"""MLflow's functions for where to record: always a store on this machine; servers are remotes to sync with."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from mltrack.disk.layout import find_store
from mltrack.disk.store_path import folder_of, uri_of
from mltrack.errors import UsageError
from mltrack.recording import current_store
from mltrack.values.arguments import path_argument

__all__ = ["get_registry_uri", "get_tracking_uri", "is_tracking_uri_set", "set_registry_uri", "set_tracking_uri"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_BARE = ("databricks", "databricks-uc", "uc")


def set_tracking_uri(uri: str | os.PathLike[str]) -> None:
    """Record into this store: ``mltrack:`` with or without a folder, ``file:``, or a path.

    Without a folder, and with "", it is that of ``Store.open``. The store is created by the first call that records.

    Raises:
        UsageError: it is a server or a database; or a folder with other content.
    """
    folder = _meant(uri)
    if folder is not None and os.path.isdir(folder) and not os.path.isfile(os.path.join(folder, "store.json")):
        try:
            others = os.listdir(folder)
        except OSError:
            others = []
        if others:
            raise UsageError(f"{os.fspath(folder)} is not an mltrack store", hint="name a store, or a new folder")
    current_store.set_store(folder)


def get_tracking_uri() -> str:
    """The URI of the store that is recorded into, for MLflow's own API: ``mltrack:///absolute/.mltrack``."""
    return uri_of(current_store.store_folder())


def is_tracking_uri_set() -> bool:
    """Whether a store was chosen, by a call or by ``$MLTRACK_STORE``."""
    return not current_store.was_searched()


def set_registry_uri(uri: str | os.PathLike[str]) -> None:
    """Accept the store that is recorded into, where models are registered, and refuse any other URI.

    Raises:
        UsageError: it is another one.
    """
    if not uri:
        return
    meant = find_store(_meant(uri))
    if meant != current_store.store_folder():
        raise UsageError(
            f"{meant} is not the store that is recorded into", hint="models are registered where runs are recorded"
        )


def get_registry_uri() -> str:
    """The same as ``get_tracking_uri``."""
    return get_tracking_uri()


def _meant(uri: str | os.PathLike[str]) -> os.PathLike[str] | None:
    text = path_argument("uri", uri).strip() if uri != "" else ""
    scheme = _SCHEME.match(text)
    if text in _BARE or (scheme is not None and scheme[1].lower() not in ("mltrack", "file")):
        raise UsageError(
            f"the record API records into a store on this machine, not to {_without_secrets(text)}",
            hint="remove this call, and push the store: mltrack remote add NAME URL, mltrack sync;"
            " or import mlflow itself",
        )
    if text in ("", "mltrack:", "mltrack://", "mltrack:///"):
        return None
    return folder_of(uri)


def _without_secrets(text: str) -> str:
    """A URI without its user, password and query."""
    try:
        parts = urlsplit(text)
        return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
    except ValueError:
        return "that"
