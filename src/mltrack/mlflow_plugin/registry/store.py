"""MLflow's model registry on the store's own registry. Prompts come with it: MLflow keeps them as registered models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlflow.entities.model_registry import ModelVersion as MlflowVersion
from mlflow.entities.model_registry import RegisteredModel as MlflowModel
from mlflow.entities.model_registry import RegisteredModelAlias, RegisteredModelTag
from mlflow.entities.model_registry.model_version_stages import (
    ALL_STAGES,
    get_canonical_stage,
)
from mlflow.exceptions import MlflowException
from mlflow.prompt.registry_utils import handle_resource_already_exist_error
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.model_registry import (
    SEARCH_REGISTERED_MODEL_MAX_RESULTS_DEFAULT,
    SEARCH_REGISTERED_MODEL_MAX_RESULTS_THRESHOLD,
)
from mlflow.store.model_registry.abstract_store import AbstractStore
from mlflow.utils.validation import (
    _validate_model_name,
    _validate_model_renaming,
    _validate_registered_model_tag,
    _validate_tag_name,
)

from mltrack.environment import PROMPT_TAG
from mltrack.errors import AlreadyExistsError, MltrackError, NotFoundError
from mltrack.mlflow_plugin.arguments import check_at_most, invalid, tag_texts, text_of
from mltrack.mlflow_plugin.artifacts.local_folder import register_local_repository
from mltrack.mlflow_plugin.errors import as_mlflow, beginning, raises_mlflow, with_words
from mltrack.mlflow_plugin.registry.alias_names import check_alias, check_alias_is_free
from mltrack.mlflow_plugin.registry.search import find_models, page
from mltrack.mlflow_plugin.registry.versions import NO_VERSION, ModelVersions, version_number
from mltrack.mlflow_plugin.registry.webhooks import Webhooks
from mltrack.mlflow_plugin.uris import open_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mltrack.entities import ModelVersion, RegisteredModel

__all__ = ["RegistryStore"]


_NO_MODEL = (NotFoundError, "Registered Model with name={name} not found")


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
        "set_registered_model_alias": NO_VERSION,
    }
)
class RegistryStore(ModelVersions, Webhooks, AbstractStore):
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
        given = tag_texts(tags, _validate_registered_model_tag)
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
        check_at_most(max_results, SEARCH_REGISTERED_MODEL_MAX_RESULTS_THRESHOLD)
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
        self._registry.set_model_tag(name, tag.key, text_of(tag.value))

    def delete_registered_model_tag(self, name: str, key: str) -> None:
        """Remove a tag of a model; it need not exist."""
        _validate_model_name(name)
        _validate_tag_name(key)
        self._registry.set_model_tag(name, key, None)

    # --- aliases ---

    def set_registered_model_alias(self, name: str, alias: str, version: int | str) -> None:
        """Set the version of an alias, replacing any other."""
        _validate_model_name(name)
        check_alias(alias)
        check_alias_is_free(alias)
        self._registry.set_alias(name, alias, version_number(version))

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
            raise invalid(f"Registered model alias {alias} not found.") from error

    # --- in MLflow's terms ---

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
