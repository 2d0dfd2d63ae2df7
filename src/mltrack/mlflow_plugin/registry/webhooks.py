"""The registry's webhooks: kept by MLflow's own SQL store in the store's SQLite file, delivered by MLflow's server.

MLflow encrypts their secrets with the key of the environment. Without one it makes up a key for each process, with
which no other process can read them: a secret is refused then.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from cryptography.fernet import Fernet, InvalidToken
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST
from mlflow.store.entities.paged_list import PagedList

from mltrack.errors import StoreError, UsageError
from mltrack.mlflow_plugin.arguments import offset_of
from mltrack.mlflow_plugin.errors import raises_mlflow
from mltrack.mlflow_plugin.tables_file import FILE, TablesFile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mltrack.store import Store

__all__ = ["Webhooks"]

WEBHOOKS_PAGE_MAX = 1000
KEY = "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"
NEW_KEY = "python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"


@raises_mlflow
class Webhooks:
    """A registry's methods for webhooks."""

    _store: Store
    _tables: TablesFile[Any] | None = None

    def create_webhook(
        self,
        name: str,
        url: str,
        events: Sequence[Any],
        description: str | None = None,
        secret: str | None = None,
        status: Any = None,
    ) -> Any:
        """Keep a webhook; a server started on the store calls it at each of the events."""
        if secret:
            _check_key()
        return self._in_tables("create_webhook", name, url, events, description, secret, status)

    def list_webhooks(self, max_results: int | None = None, page_token: str | None = None) -> PagedList[Any]:
        """A page of the webhooks, the latest first."""
        return self._listed("list_webhooks", max_results, page_token)

    def list_webhooks_by_event(
        self, event: Any, max_results: int | None = None, page_token: str | None = None
    ) -> PagedList[Any]:
        """A page of the webhooks of an event; an MLflow server reads it after each change."""
        return self._listed("list_webhooks_by_event", max_results, page_token, event)

    def get_webhook(self, webhook_id: str) -> Any:
        """One webhook."""
        self._check_file(webhook_id)
        return self._in_tables("get_webhook", webhook_id)

    def update_webhook(
        self,
        webhook_id: str,
        name: str | None = None,
        description: str | None = None,
        url: str | None = None,
        events: Sequence[Any] | None = None,
        secret: str | None = None,
        status: Any = None,
    ) -> Any:
        """Change what is given of a webhook."""
        self._check_file(webhook_id)
        if secret:
            _check_key()
        return self._in_tables("update_webhook", webhook_id, name, description, url, events, secret, status)

    def delete_webhook(self, webhook_id: str) -> None:
        """Remove a webhook."""
        self._check_file(webhook_id)
        self._in_tables("delete_webhook", webhook_id)

    def test_webhook(self, webhook_id: str, event: Any = None) -> Any:
        """Call a webhook with an example of the event, or of its first one; returns what it answered."""
        from mlflow.webhooks import delivery

        return delivery.test_webhook(self.get_webhook(webhook_id), event)

    def _listed(self, name: str, max_results: int | None, page_token: str | None, *args: Any) -> PagedList[Any]:
        if max_results and not 1 <= max_results <= WEBHOOKS_PAGE_MAX:
            raise MlflowException(
                f"max_results must be between 1 and {WEBHOOKS_PAGE_MAX}.", error_code=INVALID_PARAMETER_VALUE
            )
        offset_of(page_token)
        if not self._has_tables():
            return PagedList([], None)
        found: PagedList[Any] = self._in_tables(name, *args, max_results, page_token)
        return found

    def _has_tables(self) -> bool:
        return os.path.exists(self._store.layout.workspace / FILE)

    def _check_file(self, webhook_id: str) -> None:
        if not self._has_tables():
            raise MlflowException(f"Webhook with ID {webhook_id} not found.", RESOURCE_DOES_NOT_EXIST)

    def _in_tables(self, name: str, /, *args: Any) -> Any:
        if self._tables is None:
            self._tables = TablesFile(_sql_registry)
        tables = self._tables.open(self._store.layout.workspace / FILE)
        try:
            return getattr(tables, name)(*args)
        except MlflowException as error:
            if not isinstance(error.__cause__, InvalidToken):
                raise
            raise StoreError(
                "a webhook's secret was encrypted with another key",
                hint=f"start the server with {KEY} as it was when the webhook was made",
            ) from error


def _sql_registry(uri: str) -> Any:
    _check_shape()
    # imported at the first use: MLflow's SQL tables take a second to import, and read the key then
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

    return SqlAlchemyStore(uri)


def _check_shape() -> Fernet | None:
    key = os.environ.get(KEY)
    try:
        return Fernet(key) if key else None
    except ValueError as error:
        raise UsageError(f"{KEY} is not a key", hint=f"make one with: {NEW_KEY}") from error


def _check_key() -> None:
    """Check that MLflow encrypts with the key of the environment.

    Raises:
        UsageError: there is no key, it is not one, or it was set after MLflow had read it.
    """
    given = _check_shape()
    if given is None:
        raise UsageError(
            f"A webhook's secret is not kept without a key to encrypt it: set {KEY} where the server is started",
            hint=f"make one with: {NEW_KEY}",
        )
    from mlflow.store.model_registry.dbmodels.models import SqlWebhook

    try:
        given.decrypt(SqlWebhook.__table__.c.secret.type.cipher.encrypt(b""))
    except InvalidToken as error:
        raise UsageError(
            f"{KEY} was set or changed after MLflow had read it", hint="set it before the program starts"
        ) from error
