"""What all parts of the tracking store share: the store it stands on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.mlflow_plugin.errors import as_mlflow
from mltrack.mlflow_plugin.uris import open_store

if TYPE_CHECKING:
    from mltrack.reading import Store

__all__ = ["Part"]


class Part:
    """One part of the tracking store; the parts are mixed into one class."""

    _store: Store

    def _open(self, store_uri: str) -> None:
        from mltrack.errors import MltrackError

        try:
            self._store = open_store(store_uri)
        except MltrackError as error:
            raise as_mlflow(error) from error
