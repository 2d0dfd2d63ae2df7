"""MLflow's model registry on the store's own registry. Prompts come with it: MLflow keeps them as registered models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mlflow.entities.model_registry import ModelVersion as MlflowVersion
from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelAlias, RegisteredModelTag
from mlflow.entities.model_registry import RegisteredModel as MlflowModel
from mlflow.entities.model_registry.model_version_stages import (
    ALL_STAGES,
    DEFAULT_STAGES_FOR_GET_LATEST_VERSIONS,
    get_canonical_stage,
)
from mlflow.exceptions import MlflowException
from mlflow.prompt.registry_utils import handle_resource_already_exist_error
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST
from mlflow.store.artifact.utils.models import _parse_model_uri
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.model_registry import (
    SEARCH_MODEL_VERSION_MAX_RESULTS_DEFAULT,
    SEARCH_MODEL_VERSION_MAX_RESULTS_THRESHOLD,
    SEARCH_REGISTERED_MODEL_MAX_RESULTS_DEFAULT,
    SEARCH_REGISTERED_MODEL_MAX_RESULTS_THRESHOLD,
)
from mlflow.store.model_registry.abstract_store import AbstractStore
from mlflow.utils.validation import (
    _validate_model_name,
    _validate_model_renaming,
    _validate_model_version,
    _validate_model_version_tag,
    _validate_registered_model_tag,
    _validate_tag_name,
)

from mltrack.environment import PROMPT_TAG
from mltrack.errors import AlreadyExistsError, MltrackError, NotFoundError
from mltrack.mlflow_plugin.artifacts.local_folder import register_local_repository
from mltrack.mlflow_plugin.errors import as_mlflow, beginning, raises_mlflow, with_words
from mltrack.mlflow_plugin.registry.alias_names import check_alias, check_alias_is_free
from mltrack.mlflow_plugin.registry.search import find_models, find_versions, page
from mltrack.mlflow_plugin.registry.sources import download_uri, kept_place, shown_source
from mltrack.mlflow_plugin.registry.webhooks import Webhooks
from mltrack.mlflow_plugin.uris import artifact_uri, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mltrack.entities import ModelVersion, RegisteredModel

__all__ = ["RegistryStore"]


_NO_MODEL = (NotFoundError, "Registered Model with name={name} not found")
_NO_VERSION = (NotFoundError, "Model Version (name={name}, version={version}) not found")


@raises_mlflow
@with_words(
    {
        **dict.fromkeys(
            (
                "update_registered_model",
                "delete_registered_model",
                "get_registered_model",
                "get_latest_versions",
                "set_registered_model_tag",
                "delete_registered_model_tag",
                "delete_registered_model_alias",
                "get_model_version_by_alias",
            ),
            _NO_MODEL,
        ),
        **dict.fromkeys(
            (
                "update_model_version",
                "transition_model_version_stage",
                "delete_model_version",
                "get_model_version",
                "get_model_version_download_uri",
                "set_model_version_tag",
                "delete_model_version_tag",
                "set_registered_model_alias",
            ),
            _NO_VERSION,
        ),
    }
)
class RegistryStore(Webhooks, AbstractStore):
    """The registered models of one store. A change survives power loss once the call has returned."""

    def __init__(self, store_uri: str, tracking_uri: str | None = None) -> None:
        """``tracking_uri`` has the logged models that are not in the store itself."""
        AbstractStore.__init__(self, store_uri, tracking_uri)
        self._uri = store_uri
        self._tracking_uri = tracking_uri
        try:
            self._store = open_store(store_uri)
        except MltrackError as error:
            raise as_mlflow(error) from error
        register_local_repository()
        self._registry = self._store.registry

    # --- registered models ---

    def create_registered_model(
        self,
        name: str,
        tags: Iterable[RegisteredModelTag] | None = None,
        description: str | None = None,
        deployment_job_id: str | None = None,
    ) -> MlflowModel:
        """Register a model, or a prompt."""
        _validate_model_name(name)
        given = _texts(tags, _validate_registered_model_tag)
        try:
            return self._model(self._registry.create_model(name, description or "", given))
        except AlreadyExistsError:
            held = self._registry.get_model(name)
            handle_resource_already_exist_error(name, PROMPT_TAG in held.tags, PROMPT_TAG in given)
            raise

    def update_registered_model(
        self, name: str, description: str | None, deployment_job_id: str | None = None
    ) -> MlflowModel:
        """Change a model's description."""
        _validate_model_name(name)
        return self._model(self._registry.update_model(name, description or ""))

    def rename_registered_model(self, name: str, new_name: str) -> MlflowModel:
        """Rename a model, with its versions and aliases."""
        _validate_model_renaming(new_name)
        _validate_model_name(name)
        with (
            beginning(NotFoundError, f"Registered Model with name={name} not found"),
            beginning(AlreadyExistsError, f"Registered Model (name={new_name}) already exists"),
        ):
            return self._model(self._registry.rename_model(name, new_name))

    def delete_registered_model(self, name: str) -> None:
        """Remove a model and its versions; files of runs and logged models stay."""
        _validate_model_name(name)
        self._registry.delete_model(name)

    def get_registered_model(self, name: str) -> MlflowModel:
        """One model, with the latest version of each stage."""
        _validate_model_name(name)
        return self._model(self._registry.get_model(name))

    def search_registered_models(
        self,
        filter_string: str | None = None,
        max_results: int | None = SEARCH_REGISTERED_MODEL_MAX_RESULTS_DEFAULT,
        order_by: Sequence[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList[MlflowModel]:
        """Models that match a filter on ``name`` and ``tags.<key>``; prompts only if the filter names them."""
        if max_results is None:
            max_results = SEARCH_REGISTERED_MODEL_MAX_RESULTS_DEFAULT
        _check_at_most(max_results, SEARCH_REGISTERED_MODEL_MAX_RESULTS_THRESHOLD)
        found = find_models(self._registry.models(), filter_string, order_by)
        return page(found, max_results, page_token, self._model)

    def get_latest_versions(self, name: str, stages: Sequence[str] | None = None) -> list[MlflowVersion]:
        """The highest version of each given stage; of all stages if none is given."""
        _validate_model_name(name)
        wanted = {get_canonical_stage(stage) for stage in stages or ALL_STAGES}
        return [self._version(version) for version in self._latest(name) if version.stage in wanted]

    def set_registered_model_tag(self, name: str, tag: RegisteredModelTag) -> None:
        """Set a tag of a model."""
        _validate_model_name(name)
        _validate_registered_model_tag(tag.key, tag.value)
        self._registry.set_model_tag(name, tag.key, _text(tag.value))

    def delete_registered_model_tag(self, name: str, key: str) -> None:
        """Remove a tag of a model; it need not exist."""
        _validate_model_name(name)
        _validate_tag_name(key)
        self._registry.set_model_tag(name, key, None)

    # --- versions ---

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
        given = _texts(tags, _validate_model_version_tag)
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
        return self._version(self._registry.update_version(name, _validate_model_version(version), description or ""))

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
        number = _validate_model_version(version)
        return self._version(
            self._registry.set_stage(name, number, known, archive_existing=bool(archive_existing_versions))
        )

    def delete_model_version(self, name: str, version: int | str) -> None:
        """Remove a version with its aliases; its number is not reused."""
        number = _validate_model_version(version)
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
            raise _invalid(f"Invalid value for max_results. It must be a positive integer, but got {max_results}")
        _check_at_most(max_results, SEARCH_MODEL_VERSION_MAX_RESULTS_THRESHOLD)
        found = find_versions(self._registry.versions(), filter_string, order_by, self._source)
        return page(found, max_results, page_token, self._version_without_aliases)

    def set_model_version_tag(self, name: str, version: int | str, tag: ModelVersionTag) -> None:
        """Set a tag of a version."""
        _validate_model_name(name)
        number = _validate_model_version(version)
        _validate_model_version_tag(tag.key, tag.value)
        self._registry.set_version_tag(name, number, tag.key, _text(tag.value))

    def delete_model_version_tag(self, name: str, version: int | str, key: str) -> None:
        """Remove a tag of a version; it need not exist."""
        _validate_model_name(name)
        number = _validate_model_version(version)
        _validate_tag_name(key)
        self._registry.set_version_tag(name, number, key, None)

    def _await_model_version_creation(self, mv: MlflowVersion, await_creation_for: float) -> None:
        """Return: a version is ready at once."""

    # --- aliases ---

    def set_registered_model_alias(self, name: str, alias: str, version: int | str) -> None:
        """Set the version of an alias, replacing any other."""
        _validate_model_name(name)
        check_alias(alias)
        check_alias_is_free(alias)
        self._registry.set_alias(name, alias, _validate_model_version(version))

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        """Remove an alias; it need not exist."""
        _validate_model_name(name)
        check_alias(alias)
        self._registry.delete_alias(name, alias)

    def get_model_version_by_alias(self, name: str, alias: str) -> MlflowVersion:
        """The version of an alias; ``latest`` is the highest one."""
        _validate_model_name(name)
        check_alias(alias)
        if alias.lower() == "latest":
            versions = self._registry.versions(name)
            if not versions:
                raise MlflowException(f"Latest version not found for model {name}.", RESOURCE_DOES_NOT_EXIST)
            return self._version(versions[-1])
        self._registry.get_model(name)
        try:
            return self._version(self._registry.by_alias(name, alias))
        except NotFoundError as error:
            raise _invalid(f"Registered model alias {alias} not found.") from error

    # --- in MLflow's terms ---

    def _find(self, name: str, version: int | str) -> ModelVersion:
        _validate_model_name(name)
        return self._registry.get_version(name, _validate_model_version(version))

    def _latest(self, name: str) -> list[ModelVersion]:
        """The highest version of each stage, in the order in which the stages first occur."""
        highest = {version.stage: version for version in self._registry.versions(name)}
        return list(highest.values())

    def _model(self, model: RegisteredModel) -> MlflowModel:
        return MlflowModel(
            model.name,
            model.creation_time,
            model.last_update_time,
            model.description or None,
            [self._version_without_aliases(version) for version in self._latest(model.name)],
            [RegisteredModelTag(key, value) for key, value in model.tags.items()],
            [RegisteredModelAlias(alias, number) for alias, number in sorted(model.aliases.items())],
        )

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
                raise _invalid("give the number of the version")
            return self.get_model_version_download_uri(parsed.name, parsed.version), None
        except (MlflowException, MltrackError) as error:
            raise MlflowException(
                f"Unable to fetch model from model URI source artifact location '{source}'.Error: {error}"
            ) from error

    def _logged_model(self, model_id: str) -> tuple[str, str | None]:
        """Where a logged model's files are, and its run; from the tracking server if it is not in this store."""
        try:
            model = self._store.logged_models.get(model_id)
        except NotFoundError:
            if self._tracking_uri in (None, self._uri):
                raise
            from mlflow.tracking import MlflowClient

            remote = MlflowClient(tracking_uri=self._tracking_uri).get_logged_model(model_id)
            return str(remote.artifact_location), remote.source_run_id
        return artifact_uri(self._store.layout.model(model_id).artifacts), model.source_run_id


def _texts(tags: Iterable[Any] | None, check: Callable[[str, str], None]) -> dict[str, str]:
    """Tags by key, each checked; the last one of a key counts."""
    given: dict[str, str] = {}
    for tag in tags or ():
        check(tag.key, tag.value)
        given[tag.key] = _text(tag.value)
    return given


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _check_at_most(max_results: int, limit: int) -> None:
    if max_results > limit:
        raise _invalid(
            f"Invalid value for request parameter max_results. It must be at most {limit}, but got value {max_results}"
        )


def _invalid(message: str) -> MlflowException:
    return MlflowException(message, error_code=INVALID_PARAMETER_VALUE)
