"""MLflow's calls on registered models. All may be repeated, except creating a version, which creates another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mltrack.environment import PROMPT_TAG
from mltrack_sync.errors import RemoteRefusedError
from mltrack_sync.http.responses import capped
from mltrack_sync.http.shapes import integer, pairs, shaped, text
from mltrack_sync.mlflow.api.base import ApiClient, ignoring_missing, pairs_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mltrack_sync.http.shapes import Fields

__all__ = ["RegistryClient", "RemoteVersion"]

PAGE_ROWS = 200
SEARCH = "model-versions/search"
ALREADY_EXISTS = "RESOURCE_ALREADY_EXISTS"
READY = "READY"
PENDING = "PENDING_REGISTRATION"


@dataclass(frozen=True, slots=True)
class RemoteVersion:
    """A remote version: its number, whether its files are ready, the server's message if not, and its tags.

    ``created`` is when the server made it, in ms; 0 where it does not say.
    """

    number: str
    status: str
    message: str
    tags: Mapping[str, str]
    created: int = 0


class RegistryClient(ApiClient):
    """What the syncer asks of a remote's registry, by calls that Azure has, too."""

    def create_model(self, name: str, description: str, tags: Mapping[str, str]) -> bool:
        """Whether it was created; False when one of that name exists."""
        fields = {"name": name, "description": description, "tags": pairs_of(tags)}
        try:
            self._transport.post("registered-models/create", fields, repeatable=False)
        except RemoteRefusedError as error:
            if error.code == ALREADY_EXISTS or error.status == 409:
                return False
            raise
        return True

    def describe_model(self, name: str, description: str) -> None:
        """Set its description."""
        fields = {"name": name, "description": description}
        self._transport.post("registered-models/update", fields, repeatable=True, method="PATCH")

    def tag_model(self, name: str, key: str, value: str | None) -> None:
        """Set a tag, or remove it."""
        self._tag("registered-models", {"name": name}, key, value)

    def set_alias(self, name: str, alias: str, number: str | None) -> None:
        """Point an alias to a version, or remove it."""
        if number is not None:
            fields = {"name": name, "alias": alias, "version": number}
            self._transport.post("registered-models/alias", fields, repeatable=True)
            return
        fields = {"name": name, "alias": alias}
        with ignoring_missing():
            self._transport.post("registered-models/alias", fields, repeatable=True, method="DELETE")

    def versions(self, name: str, *, prompts: bool = False) -> list[RemoteVersion]:
        """All versions of a model; those of prompts are found only where they are asked for."""
        return [self._version(fields, SEARCH) for fields in self.version_fields(name, prompts=prompts)]

    def version_fields(self, name: str, *, prompts: bool) -> list[Fields]:
        """The same, as MLflow writes them."""
        quote = '"' if "'" in name else "'"
        which = f"name={quote}{name}{quote}"
        if prompts:
            which += f" AND tags.`{PROMPT_TAG}` = 'true'"
        asked = {"filter": which, "max_results": str(PAGE_ROWS)}
        return [row for page in self._pages(SEARCH, asked, "model_versions", PAGE_ROWS) for row in page]

    def create_version(
        self,
        name: str,
        source: str,
        *,
        run_id: str | None,
        description: str,
        tags: Mapping[str, str],
        model_id: str | None = None,
    ) -> RemoteVersion:
        """Create a version. Repeating it would create a second one: search for its tag first."""
        fields: dict[str, Any] = {"name": name, "source": source, "description": description, "tags": pairs_of(tags)}
        if run_id:
            fields["run_id"] = run_id
        if model_id:
            fields["model_id"] = model_id
        answer = self._transport.post("model-versions/create", fields, repeatable=False)
        return self._version(answer.get("model_version"), "model-versions/create")

    def get_version(self, name: str, number: str) -> RemoteVersion:
        """The version as it is now."""
        answer = self._transport.get("model-versions/get", {"name": name, "version": number})
        return self._version(answer.get("model_version"), "model-versions/get")

    def describe_version(self, name: str, number: str, description: str) -> None:
        """Set its description."""
        fields = {"name": name, "version": number, "description": description}
        self._transport.post("model-versions/update", fields, repeatable=True, method="PATCH")

    def tag_version(self, name: str, number: str, key: str, value: str | None) -> None:
        """Set a tag, or remove it."""
        self._tag("model-versions", {"name": name, "version": number}, key, value)

    def set_stage(self, name: str, number: str, stage: str) -> None:
        """Move the version to a stage; others stay where they are."""
        fields = {"name": name, "version": number, "stage": stage, "archive_existing_versions": False}
        self._transport.post("model-versions/transition-stage", fields, repeatable=True)

    def _tag(self, what: str, fields: dict[str, str], key: str, value: str | None) -> None:
        if value is not None:
            self._transport.post(f"{what}/set-tag", {**fields, "key": key, "value": value}, repeatable=True)
            return
        gone = {**fields, "key": key}
        with ignoring_missing():
            self._transport.post(f"{what}/delete-tag", gone, repeatable=True, method="DELETE")

    def _version(self, fields: Any, call: str) -> RemoteVersion:
        with shaped(self.url, call, fields):
            status, said = text(fields.get("status")) or READY, capped(text(fields.get("status_message")))
            number, created = integer(fields["version"]), integer(fields.get("creation_timestamp") or 0)
            return RemoteVersion(str(number), status, said, pairs(fields, "tags"), created)
