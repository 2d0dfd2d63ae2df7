"""The registry's model versions in MLflow's terms, with the sources that are models themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mlflow.entities.model_registry import ModelVersion as MlflowVersion
from mlflow.entities.model_registry import ModelVersionTag
from mlflow.entities.model_registry.model_version_stages import (
    DEFAULT_STAGES_FOR_GET_LATEST_VERSIONS,
    get_canonical_stage,
)
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.utils.models import _parse_model_uri
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.model_registry import (
    SEARCH_MODEL_VERSION_MAX_RESULTS_DEFAULT,
    SEARCH_MODEL_VERSION_MAX_RESULTS_THRESHOLD,
)
from mlflow.utils.validation import (
    _validate_model_name,
    _validate_model_version,
    _validate_model_version_tag,
    _validate_tag_name,
)

from mltrack.disk.fields import VERSION
from mltrack.entities import DELETED
from mltrack.errors import MltrackError, NotFoundError
from mltrack.mlflow_plugin.arguments import check_at_most, invalid, parsing, tag_texts, text_of
from mltrack.mlflow_plugin.errors import beginning, raises_mlflow, with_words
from mltrack.mlflow_plugin.registry.search import find_versions, page
from mltrack.mlflow_plugin.registry.sources import download_uri, kept_place, shown_source
from mltrack.mlflow_plugin.uris import artifact_uri

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mltrack.entities import ModelVersion
    from mltrack.storage.registry.registry import Registry
    from mltrack.store import Store

__all__ = ["NO_VERSION", "ModelVersions", "version_number"]

NO_VERSION = (NotFoundError, "Model Version (name={name}, version={version}) not found")


def version_number(version: int | str) -> int:
    """The number of a version.

    Raises:
        MlflowException: it is not a number.
        NotFoundError: no version can have it.
    """
    with parsing("model version", version):
        number: int = _validate_model_version(version)
    if not VERSION.check(number):
        raise NotFoundError(f"{number} is not a version number", hint="give an integer from 1 on")
    return number


@raises_mlflow
@with_words(
    dict.fromkeys(
        (
            "update_model_version",
            "transition_model_version_stage",
            "delete_model_version",
            "get_model_version",
            "get_model_version_download_uri",
            "set_model_version_tag",
            "delete_model_version_tag",
        ),
        NO_VERSION,
    )
)
class ModelVersions:
    """A registry's methods for versions of models."""

    _store: Store
    _registry: Registry
    _uri: str
    _tracking_uri: str | None

    def create_model_version(
        self,
        name: str,
        source: str,
        run_id: str | None = None,
        tags: Iterable[ModelVersionTag] | None = None,
        run_link: str | None = None,
        description: str | None = None,
        local_model_path: str | None = None,
        model_id: str | None = None,
    ) -> MlflowVersion:
        """Add the next version; its files stay at ``source``, and numbers are never reused."""
        _validate_model_name(name)
        if not isinstance(source, str):
            raise invalid(f"the source of a version must be text, not {source!r} (give the address of its files)")
        given = tag_texts(tags, _validate_model_version_tag)
        layout, location = self._store.layout, None
        if urlsplit(source).scheme == "models":
            address, origin = self._resolve(source)
            location, run_id = kept_place(layout, address) or address, run_id or origin
        if not run_id and model_id:
            _, run_id = self._logged_model(model_id)
        kept = kept_place(layout, source)
        with beginning(NotFoundError, f"Registered Model with name={name} not found"):
            version = self._registry.create_version(
                name,
                kept or source,
                run_id=run_id,
                description=description or "",
                tags=given,
                model_id=model_id,
                run_link=run_link,
                location=location if location != source else None,
                as_address=kept is not None,
            )
        return self._version(version)

    def update_model_version(self, name: str, version: int | str, description: str | None = None) -> MlflowVersion:
        """Change a version's description."""
        _validate_model_name(name)
        return self._version(self._registry.update_version(name, version_number(version), description or ""))

    def transition_model_version_stage(
        self, name: str, version: int | str, stage: str, archive_existing_versions: bool
    ) -> MlflowVersion:
        """Move a version to a stage, and on request the present ones of that stage to Archived."""
        known = get_canonical_stage(stage)
        if archive_existing_versions and known not in DEFAULT_STAGES_FOR_GET_LATEST_VERSIONS:
            raise MlflowException(
                f"Model version transition cannot archive existing model versions because {stage!r} is not an Active "
                f"stage. Valid stages are {DEFAULT_STAGES_FOR_GET_LATEST_VERSIONS}"
            )
        _validate_model_name(name)
        number = version_number(version)
        return self._version(
            self._registry.set_stage(name, number, known, archive_existing=bool(archive_existing_versions))
        )

    def delete_model_version(self, name: str, version: int | str) -> None:
        """Remove a version with its aliases; its number is not reused."""
        number = version_number(version)
        _validate_model_name(name)
        self._registry.delete_version(name, number)

    def get_model_version(self, name: str, version: int | str) -> MlflowVersion:
        """One version."""
        return self._version(self._find(name, version))

    def get_model_version_download_uri(self, name: str, version: int | str) -> str:
        """Where to read a version's files."""
        return download_uri(self._store.layout, self._find(name, version))

    def search_model_versions(
        self,
        filter_string: str | None = None,
        max_results: int | None = SEARCH_MODEL_VERSION_MAX_RESULTS_DEFAULT,
        order_by: Sequence[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList[MlflowVersion]:
        """Versions that match a filter on ``name``, ``run_id``, ``source_path``, ``version_number``, ``tags.<key>``.

        As in MLflow's SQL store, they come without their aliases.
        """
        if max_results is None:
            max_results = SEARCH_MODEL_VERSION_MAX_RESULTS_DEFAULT
        if not isinstance(max_results, int) or max_results < 1:
            raise invalid(f"Invalid value for max_results. It must be a positive integer, but got {max_results}")
        check_at_most(max_results, SEARCH_MODEL_VERSION_MAX_RESULTS_THRESHOLD)
        found = find_versions(self._registry.versions(), filter_string, order_by, self._source)
        return page(found, max_results, page_token, self._version_without_aliases)

    def set_model_version_tag(self, name: str, version: int | str, tag: ModelVersionTag) -> None:
        """Set a tag of a version."""
        _validate_model_name(name)
        number = version_number(version)
        _validate_model_version_tag(tag.key, tag.value)
        self._registry.set_version_tag(name, number, tag.key, text_of(tag.value))

    def delete_model_version_tag(self, name: str, version: int | str, key: str) -> None:
        """Remove a tag of a version; it need not exist."""
        _validate_model_name(name)
        number = version_number(version)
        _validate_tag_name(key)
        self._registry.set_version_tag(name, number, key, None)

    def _await_model_version_creation(self, mv: MlflowVersion, await_creation_for: float) -> None:
        """Return: a version is ready at once."""

    # --- in MLflow's terms ---

    def _find(self, name: str, version: int | str) -> ModelVersion:
        _validate_model_name(name)
        return self._registry.get_version(name, version_number(version))

    def _version_without_aliases(self, version: ModelVersion) -> MlflowVersion:
        return self._version(version, aliases=())

    def _version(self, version: ModelVersion, *, aliases: Sequence[str] | None = None) -> MlflowVersion:
        return MlflowVersion(
            version.name,
            version.version,  # type: ignore[arg-type]  # an integer, as in MLflow's SQL store
            version.creation_time,
            version.last_update_time,
            version.description or None,
            current_stage=version.stage,
            source=self._source(version),
            run_id=version.run_id,
            tags=[ModelVersionTag(key, value) for key, value in version.tags.items()],
            run_link=version.run_link,
            aliases=list(version.aliases if aliases is None else aliases),
            model_id=version.model_id,
        )

    def _source(self, version: ModelVersion) -> str:
        return shown_source(self._store.layout, version)

    # --- sources that are models themselves ---

    def _resolve(self, source: str) -> tuple[str, str | None]:
        """Where the files of ``models:/...`` are, and the run that made them if it is a logged model.

        Raises:
            MlflowException: there is no such model.
        """
        parsed = _parse_model_uri(source)
        try:
            if parsed.model_id is not None:
                return self._logged_model(parsed.model_id)
            if parsed.name is None or parsed.version is None:
                raise invalid("give the number of the version")
            return self.get_model_version_download_uri(parsed.name, parsed.version), None
        except (MlflowException, MltrackError) as error:
            raise MlflowException(
                f"Unable to fetch model from model URI source artifact location '{source}'.Error: {error}"
            ) from error

    def _logged_model(self, model_id: str) -> tuple[str, str | None]:
        """Where a logged model's files are, and its run; from the tracking server if it is not in this store."""
        try:
            model = self._store.logged_models.get(model_id)
            if model.lifecycle_stage == DELETED:
                raise NotFoundError(f"logged model {model_id!r} is deleted", hint="register one that is not")
        except NotFoundError:
            if self._tracking_uri in (None, self._uri):
                with beginning(NotFoundError, f"Logged model with ID '{model_id}' not found."):
                    raise
            from mlflow.tracking import MlflowClient

            remote = MlflowClient(tracking_uri=self._tracking_uri).get_logged_model(model_id)
            return str(remote.artifact_location), remote.source_run_id
        return artifact_uri(self._store.layout.model(model_id).artifacts), model.source_run_id
