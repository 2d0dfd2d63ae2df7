"""The registry's webhooks: not supported, as a store is a folder without a server to call them."""

from __future__ import annotations

from typing import Any, NoReturn

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, NOT_IMPLEMENTED, RESOURCE_DOES_NOT_EXIST
from mlflow.store.entities.paged_list import PagedList

__all__ = ["Webhooks"]

WEBHOOKS_PAGE_MAX = 1000


class Webhooks:
    """A registry's methods for webhooks."""

    def create_webhook(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused: no server would call it."""
        raise MlflowException(
            "an mltrack store keeps no webhooks: it is a folder, and no server would call them",
            error_code=NOT_IMPLEMENTED,
        )

    def list_webhooks(self, max_results: int | None = None, page_token: str | None = None) -> PagedList[Any]:
        """An empty list."""
        if max_results is not None and not 1 <= max_results <= WEBHOOKS_PAGE_MAX:
            raise MlflowException(
                f"max_results must be between 1 and {WEBHOOKS_PAGE_MAX}.", error_code=INVALID_PARAMETER_VALUE
            )
        return PagedList([], None)

    def list_webhooks_by_event(
        self, event: Any, max_results: int | None = None, page_token: str | None = None
    ) -> PagedList[Any]:
        """An empty list; an MLflow server reads it after each change."""
        return self.list_webhooks(max_results, page_token)

    def get_webhook(self, webhook_id: str) -> NoReturn:
        """Not found: there are no webhooks."""
        raise MlflowException(f"Webhook with ID {webhook_id} not found.", RESOURCE_DOES_NOT_EXIST)

    def update_webhook(self, webhook_id: str, *args: Any, **kwargs: Any) -> NoReturn:
        """Not found: there are no webhooks."""
        self.get_webhook(webhook_id)

    def delete_webhook(self, webhook_id: str) -> NoReturn:
        """Not found: there are no webhooks."""
        self.get_webhook(webhook_id)

    def test_webhook(self, webhook_id: str, event: Any = None) -> NoReturn:
        """Not found: there are no webhooks."""
        self.get_webhook(webhook_id)
