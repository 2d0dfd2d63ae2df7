"""The model registry, by the same assertions on an mltrack store and on MLflow's SQL store."""

from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag
from mlflow.exceptions import MlflowException
from mlflow.store.model_registry.abstract_store import AbstractStore

from mltrack.mlflow_plugin.registry.store import RegistryStore

RUN = "5f0c" * 8
MISSING, INVALID, TAKEN = "RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS"


def _fails(code: str, call: Any, *args: Any, **kwargs: Any) -> None:
    with pytest.raises(MlflowException) as caught:
        call(*args, **kwargs)
    assert caught.value.error_code == code


def _add(registry: Any, name: str = "m", source: str = "s3://bucket/model", **kwargs: Any) -> Any:
    tags = [ModelVersionTag(key, value) for key, value in kwargs.pop("tags", {}).items()]
    return registry.create_model_version(name, source, tags=tags, **kwargs)


def _make(registry: Any, name: str, **tags: str) -> Any:
    return registry.create_registered_model(name, tags=[RegisteredModelTag(k, v) for k, v in tags.items()])


def test_every_method_of_mlflows_registry_exists() -> None:
    inherited = {  # written upon the others, and right for any store
        *("copy_model_version", "supports_workspaces", "_await_model_version_creation_impl"),
        *(name for name in vars(AbstractStore) if "prompt" in name),
    }
    for name, member in vars(AbstractStore).items():
        if name not in inherited and not name.startswith("__") and callable(member):
            assert getattr(RegistryStore, name) is not member, name


# --- registered models ---


def test_a_model_is_returned_as_created(registry: Any) -> None:
    made = registry.create_registered_model("m", [RegisteredModelTag("team", "a")], "two arms")
    for model in (made, registry.get_registered_model("m")):
        assert (model.name, model.description, model.tags, model.aliases) == ("m", "two arms", {"team": "a"}, {})
        assert model.latest_versions == []
        assert model.creation_timestamp == model.last_updated_timestamp == made.creation_timestamp
    assert _make(registry, "plain").description is None


def test_names_are_validated_and_unique(registry: Any) -> None:
    _make(registry, "m")
    _fails(TAKEN, _make, registry, "m")
    for name in ("", "  ", "a/b", "a:b", "."):
        _fails(INVALID, _make, registry, name)
        _fails(INVALID, registry.get_registered_model, name)
    _fails(INVALID, _make, registry, None)


def test_a_missing_model_is_not_found_by_any_method(registry: Any) -> None:
    tag = RegisteredModelTag("k", "v")
    for call, args in [
        (registry.get_registered_model, ()),
        (registry.update_registered_model, ("d",)),
        (registry.rename_registered_model, ("n",)),
        (registry.delete_registered_model, ()),
        (registry.get_latest_versions, ()),
        (registry.set_registered_model_tag, (tag,)),
        (registry.delete_registered_model_tag, ("k",)),
        (registry.create_model_version, ("s3://b/m",)),
        (registry.get_model_version, (1,)),
        (registry.get_model_version_download_uri, (1,)),
        (registry.update_model_version, (1, "d")),
        (registry.transition_model_version_stage, (1, "Staging", False)),
        (registry.delete_model_version, (1,)),
        (registry.set_model_version_tag, (1, tag)),
        (registry.delete_model_version_tag, (1, "k")),
        (registry.set_registered_model_alias, ("a", 1)),
        (registry.delete_registered_model_alias, ("a",)),
        (registry.get_model_version_by_alias, ("a",)),
        (registry.get_model_version_by_alias, ("latest",)),
    ]:
        _fails(MISSING, call, "missing", *args)


def test_a_description_is_changed_and_deleted(registry: Any) -> None:
    made = _make(registry, "m")
    assert registry.update_registered_model("m", "new").description == "new"
    assert registry.get_registered_model("m").last_updated_timestamp >= made.last_updated_timestamp
    assert registry.update_registered_model("m", None).description is None


def test_tags_are_set_changed_and_deleted_without_updating_the_models_time(registry: Any) -> None:
    made = _make(registry, "m", a="1")
    registry.set_registered_model_tag("m", RegisteredModelTag("b", "2"))
    registry.set_registered_model_tag("m", RegisteredModelTag("a", "3"))
    registry.delete_registered_model_tag("m", "b")
    registry.delete_registered_model_tag("m", "never there")
    found = registry.get_registered_model("m")
    assert (found.tags, found.last_updated_timestamp) == ({"a": "3"}, made.last_updated_timestamp)
    _fails(INVALID, registry.set_registered_model_tag, "m", RegisteredModelTag(None, "v"))
    _fails(INVALID, registry.set_registered_model_tag, "m", RegisteredModelTag("a//b", "v"))


def test_renaming_keeps_everything(registry: Any) -> None:
    _make(registry, "old", a="1")
    _make(registry, "taken")
    _add(registry, "old", tags={"k": "v"})
    registry.set_registered_model_alias("old", "best", 1)
    _fails(TAKEN, registry.rename_registered_model, "old", "taken")
    _fails(INVALID, registry.rename_registered_model, "old", "a/b")
    assert registry.rename_registered_model("old", "new").tags == {"a": "1"}
    version = registry.get_model_version_by_alias("new", "best")
    assert (version.name, version.version, version.tags, version.aliases) == ("new", 1, {"k": "v"}, ["best"])
    assert version.last_updated_timestamp == registry.get_registered_model("new").last_updated_timestamp
    _fails(MISSING, registry.get_registered_model, "old")
    assert registry.rename_registered_model("new", "new").name == "new"


def test_a_deleted_model_is_gone_and_its_name_can_be_reused(registry: Any) -> None:
    _make(registry, "m", a="1")
    _add(registry)
    registry.set_registered_model_alias("m", "best", 1)
    registry.delete_registered_model("m")
    assert registry.search_registered_models() == registry.search_model_versions() == []
    model = _make(registry, "m")
    assert (model.tags, model.aliases, _add(registry).version) == ({}, {}, 1)


# --- versions ---


def test_a_version_is_returned_as_created(registry: Any) -> None:
    _make(registry, "m")
    link = "http://server/run"
    made = _add(registry, run_id=RUN, tags={"k": "v"}, run_link=link, description="first")
    for version in (made, registry.get_model_version("m", 1), registry.get_model_version("m", "1")):
        assert (version.name, version.version, version.source, version.run_id) == ("m", 1, "s3://bucket/model", RUN)
        assert (version.tags, version.run_link, version.description) == ({"k": "v"}, link, "first")
        assert (version.status, version.status_message, version.current_stage) == ("READY", None, "None")
        assert (version.aliases, version.user_id) == ([], None)
        assert version.creation_timestamp == version.last_updated_timestamp
    model = registry.get_registered_model("m")
    assert model.last_updated_timestamp == made.creation_timestamp
    assert [v.version for v in model.latest_versions] == [1]
    plain = _add(registry)
    assert (plain.run_id, plain.description, plain.run_link, plain.tags) == (None, None, None, {})


def test_version_numbers_are_not_reused(registry: Any) -> None:
    _make(registry, "m")
    assert [_add(registry).version for _ in range(3)] == [1, 2, 3]
    registry.delete_model_version("m", "3")
    assert _add(registry).version == 4
    _fails(MISSING, registry.get_model_version, "m", 3)
    _fails(MISSING, registry.delete_model_version, "m", 3)
    _fails(INVALID, registry.get_model_version, "m", "three")
    assert [v.version for v in registry.search_model_versions("name = 'm'")] == [4, 2, 1]


def test_a_version_can_be_changed(registry: Any) -> None:
    _make(registry, "m")
    made = _add(registry)
    registry.set_model_version_tag("m", 1, ModelVersionTag("a", "1"))
    registry.set_model_version_tag("m", "1", ModelVersionTag("b", "2"))
    registry.delete_model_version_tag("m", 1, "a")
    registry.delete_model_version_tag("m", 1, "never there")
    found = registry.get_model_version("m", 1)
    assert (found.tags, found.last_updated_timestamp) == ({"b": "2"}, made.last_updated_timestamp)
    assert registry.update_model_version("m", 1, "words").description == "words"
    assert registry.update_model_version("m", 1, None).description is None
    _fails(INVALID, registry.set_model_version_tag, "m", 1, ModelVersionTag("a" * 300, "v"))
    _fails(MISSING, registry.set_model_version_tag, "m", 2, ModelVersionTag("a", "v"))


def test_stages_archive_the_versions_that_hold_them(registry: Any) -> None:
    _make(registry, "m")
    for _ in range(4):
        _add(registry)
    registry.transition_model_version_stage("m", 1, "production", False)
    registry.transition_model_version_stage("m", 2, "Staging", False)
    moved = registry.transition_model_version_stage("m", "3", "Production", True)
    assert moved.current_stage == "Production"
    stages = {v.version: v.current_stage for v in registry.search_model_versions("name = 'm'")}
    assert stages == {1: "Archived", 2: "Staging", 3: "Production", 4: "None"}
    registry.transition_model_version_stage("m", 3, "Production", True)
    assert registry.get_model_version("m", 3).current_stage == "Production"
    assert registry.get_model_version("m", 1).last_updated_timestamp == moved.last_updated_timestamp
    _fails(INVALID, registry.transition_model_version_stage, "m", 1, "Live", False)
    _fails("INTERNAL_ERROR", registry.transition_model_version_stage, "m", 1, "None", True)
    _fails(MISSING, registry.transition_model_version_stage, "m", 9, "Staging", False)


def test_the_latest_version_of_each_stage_is_found(registry: Any) -> None:
    _make(registry, "m")
    assert registry.get_latest_versions("m") == []
    for stage in ("None", "Staging", "None", "Staging", "Archived"):
        registry.transition_model_version_stage("m", _add(registry).version, stage, False)
    registry.set_registered_model_alias("m", "best", 4)
    assert [(v.version, v.current_stage) for v in registry.get_latest_versions("m")] == [
        (3, "None"),
        (4, "Staging"),
        (5, "Archived"),
    ]
    assert [(v.version, v.aliases) for v in registry.get_latest_versions("m", ["staging"])] == [(4, ["best"])]
    assert registry.get_latest_versions("m", ["Production"]) == []
    assert [v.version for v in registry.get_registered_model("m").latest_versions] == [3, 4, 5]
    _fails(INVALID, registry.get_latest_versions, "m", ["Live"])


# --- aliases ---


def test_an_alias_can_move_and_is_deleted_with_its_version(registry: Any) -> None:
    _make(registry, "m")
    _add(registry)
    _add(registry)
    registry.set_registered_model_alias("m", "champion", 1)
    registry.set_registered_model_alias("m", "champion", "2")
    registry.set_registered_model_alias("m", "best", 2)
    assert registry.get_model_version_by_alias("m", "champion").aliases == ["best", "champion"]
    assert registry.get_model_version("m", 1).aliases == []
    assert registry.get_registered_model("m").aliases == {"best": 2, "champion": 2}
    assert [v.aliases for v in registry.search_model_versions("name = 'm'")] == [[], []]
    registry.delete_registered_model_alias("m", "best")
    registry.delete_registered_model_alias("m", "never-there")
    registry.delete_model_version("m", 2)
    assert registry.get_registered_model("m").aliases == {}
    _fails(INVALID, registry.get_model_version_by_alias, "m", "champion")


def test_aliases_are_validated_and_some_are_reserved(registry: Any) -> None:
    _make(registry, "m")
    _fails(MISSING, registry.get_model_version_by_alias, "m", "latest")
    _add(registry)
    for alias in ("", "a b", "a.b", "latest", "Latest", "v1", "V12", None):
        _fails(INVALID, registry.set_registered_model_alias, "m", alias, 1)
    _fails(MISSING, registry.set_registered_model_alias, "m", "best", 2)
    registry.transition_model_version_stage("m", _add(registry).version, "Staging", False)
    assert registry.get_model_version_by_alias("m", "latest").version == 2


# --- searching models ---


def _names(registry: Any, *args: Any, **kwargs: Any) -> list[str]:
    return [model.name for model in registry.search_registered_models(*args, **kwargs)]


@pytest.fixture
def many(registry: Any) -> Any:
    """Models a, B, c_1, c%2, each with some tags, and a prompt."""
    for name, tags in {"a": {"team": "x", "n": "1"}, "B": {"team": "X"}, "c_1": {"team": "y"}, "c%2": {}}.items():
        _make(registry, name, **tags)
    _make(registry, "prompt", **{"mlflow.prompt.is_prompt": "true", "team": "x"})
    return registry


@pytest.mark.parametrize(
    ("filter_string", "found"),
    [
        ("", ["B", "a", "c%2", "c_1"]),
        ("name = 'a'", ["a"]),
        ("name != 'a'", ["B", "c%2", "c_1"]),
        ("name LIKE 'A'", []),
        ("name ILIKE 'A'", ["a"]),
        ("name LIKE 'c_%'", ["c%2", "c_1"]),
        ("name LIKE '%1'", ["c_1"]),
        ("name IN ('a', 'c_1', 'd')", ["a", "c_1"]),
        ("name NOT IN ('a', 'c_1')", ["B", "c%2"]),
        ("tags.team = 'x'", ["a"]),
        ("tag.`team` ILIKE 'x'", ["B", "a"]),
        ("tags.team != 'x'", ["B", "c_1"]),
        ("tags.team ILIKE 'x' AND tags.n = '1'", ["a"]),
        ("tags.team ILIKE 'x' AND tags.team != 'X' AND name != 'b'", ["a"]),
        ("tags.`mlflow.prompt.is_prompt` = 'true'", ["prompt"]),
        ("tags.`mlflow.prompt.is_prompt` = 'true' AND tags.team = 'y'", []),
        ("tags.`mlflow.prompt.is_prompt` != 'true'", ["B", "a", "c%2", "c_1"]),
        ("tags.`mlflow.prompt.is_prompt` = 'false' AND tags.team = 'x'", ["a"]),
        ("tags.`mlflow.prompt.is_prompt` != 'false'", ["prompt"]),
    ],
)
def test_models_are_found_by_filter(many: Any, filter_string: str, found: list[str]) -> None:
    assert _names(many, filter_string) == found


@pytest.mark.parametrize(
    "filter_string",
    [
        *("name", "name = a", "name > 'a'", "version_number = 1", "run_id = 'x'", "tags.a = 1", "tags.team IN ('x')"),
        *(
            "metrics.a = 'x'",
            "name = 'a' OR name = 'B'",
            "name = 'a'; name = 'b'",
            "name IN ()",
            "attribute.size = 'x'",
        ),
    ],
)
def test_a_filter_on_models_that_does_not_parse_is_refused(many: Any, filter_string: str) -> None:
    _fails(INVALID, many.search_registered_models, filter_string)


def test_models_are_returned_in_the_requested_order(many: Any) -> None:
    assert _names(many, order_by=["name DESC"]) == ["c_1", "c%2", "a", "B"]
    many.update_registered_model("c%2", "later")
    times = {m.name: m.last_updated_timestamp for m in many.search_registered_models()}
    assert times["c%2"] >= max(times.values())
    for order_by in (["timestamp ASC"], ["last_updated_timestamp", "name ASC"]):
        assert _names(many, order_by=order_by) == sorted(times, key=lambda name: (times[name], name))
    assert _names(many, order_by=["last_updated_timestamp DESC", "name DESC"]) == sorted(
        times, key=lambda name: (times[name], name), reverse=True
    )
    for order_by in (["size"], ["name UP"], ["creation_timestamp"], ["tags.team"]):
        _fails(INVALID, many.search_registered_models, order_by=order_by)
    _fails("INTERNAL_ERROR", many.search_registered_models, order_by=["name", "name DESC"])


def test_models_are_paged(many: Any) -> None:
    first = many.search_registered_models(max_results=2)
    second = many.search_registered_models(max_results=2, page_token=first.token)
    assert ([m.name for m in first], [m.name for m in second]) == (["B", "a"], ["c%2", "c_1"])
    assert first.token and second.token is None
    assert many.search_registered_models(max_results=1000).token is None
    _fails(INVALID, many.search_registered_models, max_results=10**6)
    _fails(INVALID, many.search_registered_models, page_token="no token")


def test_a_found_model_has_its_latest_versions_tags_and_aliases(many: Any) -> None:
    for stage in ("None", "Staging", "None"):
        many.transition_model_version_stage("a", _add(many, "a").version, stage, False)
    many.set_registered_model_alias("a", "best", 2)
    (found,) = many.search_registered_models("name = 'a'")
    assert (found.tags, found.aliases) == ({"team": "x", "n": "1"}, {"best": 2})
    assert {(v.version, v.current_stage) for v in found.latest_versions} == {(3, "None"), (2, "Staging")}


# --- searching versions ---


@pytest.fixture
def versions(registry: Any) -> Any:
    """Versions a/1 a/2 a/3 b/1, with runs and tags, one version of a prompt, and one that is deleted."""
    other = RUN[::-1]
    for name in ("a", "b"):
        _make(registry, name)
    _add(registry, "a", "s3://x/1", run_id=RUN, tags={"k": "1"})
    _add(registry, "a", "s3://x/2", run_id=other, tags={"k": "2", "l": "A"})
    _add(registry, "a", "s3://y/3", tags={"l": "a"})
    _add(registry, "b", "s3://x/1", run_id=RUN)
    _make(registry, "p", **{"mlflow.prompt.is_prompt": "true"})
    _add(registry, "p", "prompt", tags={"mlflow.prompt.is_prompt": "true", "k": "1"})
    _add(registry, "b", "s3://x/1")
    registry.delete_model_version("b", 2)
    return registry


@pytest.mark.parametrize(
    ("filter_string", "found"),
    [
        ("", "a1 a2 a3 b1"),
        ("name = 'a'", "a1 a2 a3"),
        ("name != 'a'", "b1"),
        ("name ILIKE 'A%'", "a1 a2 a3"),
        ("name IN ('b', 'c')", "b1"),
        (f"run_id = '{RUN}'", "a1 b1"),
        (f"run_id != '{RUN}'", "a2"),
        (f"run_id IN ('{RUN}', 'x')", "a1 b1"),
        (f"run_id NOT IN ('{RUN}', 'x')", "a2"),
        ("run_id LIKE '5%'", "a1 b1"),
        ("source_path = 's3://x/1'", "a1 b1"),
        ("source_path LIKE 's3://x%' AND version_number > 1", "a2"),
        ("version_number = 1", "a1 b1"),
        ("version_number >= '2'", "a2 a3"),
        ("version_number != 1", "a2 a3"),
        ("version_number <= 2 AND name = 'a'", "a1 a2"),
        ("tags.k = '1'", "a1"),
        ("tags.k != '1'", "a2"),
        ("tag.l ILIKE 'A'", "a2 a3"),
        ("tags.l LIKE 'A' AND tags.k LIKE '%'", "a2"),
        ("tags.`mlflow.prompt.is_prompt` = 'true'", "p1"),
        ("tags.`mlflow.prompt.is_prompt` = 'true' AND tags.k = '2'", ""),
        ("tags.`mlflow.prompt.is_prompt` = 'false' AND tags.k = '1'", "a1"),
    ],
)
def test_versions_are_found_by_filter(versions: Any, filter_string: str, found: str) -> None:
    rows = versions.search_model_versions(filter_string, order_by=["name", "version_number"])
    assert " ".join(f"{v.name}{v.version}" for v in rows) == found


@pytest.mark.parametrize(
    "filter_string",
    [
        *("name", "name > 'a'", "version_number LIKE '1'", "version_number = 'one'", "version_number = 1.5"),
        *("source_path IN ('a')", "tags.k > '1'", "tags.k IN ('1')", "stage = 'None'", "size = 1", "run_id = 1"),
        *("name = 'a' OR name = 'b'", "name = 'a'; name = 'b'", "creation_timestamp > 1"),
    ],
)
def test_a_filter_on_versions_that_does_not_parse_is_refused(versions: Any, filter_string: str) -> None:
    _fails(INVALID, versions.search_model_versions, filter_string)


def test_versions_are_returned_in_the_requested_order(versions: Any) -> None:
    def found(*order_by: str) -> list[tuple[str, int]]:
        return [(v.name, v.version) for v in versions.search_model_versions(order_by=list(order_by) or None)]

    versions.update_model_version("a", 1, "later")
    rows = versions.search_model_versions()
    times = {(v.name, v.version): v.last_updated_timestamp for v in rows}
    assert found() == sorted(times, key=lambda key: (-times[key], key[0], -key[1]))
    assert found("version_number DESC") == [("a", 3), ("a", 2), ("a", 1), ("b", 1)]
    assert found("version_number") == [("a", 1), ("b", 1), ("a", 2), ("a", 3)]
    assert found("name DESC") == [("b", 1), ("a", 3), ("a", 2), ("a", 1)]
    created = {(v.name, v.version): v.creation_timestamp for v in rows}
    assert found("creation_timestamp") == sorted(created, key=lambda key: (created[key], key[0], -key[1]))
    for order_by in ("run_id", "source_path", "name UP"):
        _fails(INVALID, versions.search_model_versions, order_by=[order_by])
    _fails("INTERNAL_ERROR", versions.search_model_versions, order_by=["name", "name"])


def test_versions_are_paged(versions: Any) -> None:
    token, seen = None, []
    while True:
        rows = versions.search_model_versions(max_results=3, order_by=["name", "version_number"], page_token=token)
        seen += [(v.name, v.version) for v in rows]
        token = rows.token
        if token is None:
            break
        assert len(rows) == 3
    assert seen == [("a", 1), ("a", 2), ("a", 3), ("b", 1)]
    for max_results in (0, -1, "3", 10**7):
        _fails(INVALID, versions.search_model_versions, max_results=max_results)


# --- where the files are ---


def test_a_version_made_from_a_version_uses_the_files_of_the_original(registry: Any) -> None:
    _make(registry, "m")
    made = _add(registry, source="s3://b/one", run_id=RUN, tags={"k": "v"}, description="d")
    copied = registry.copy_model_version(registry.get_model_version("m", made.version), "production")
    assert (copied.name, copied.version, copied.source) == ("production", 1, "models:/m/1")
    assert (copied.run_id, copied.tags, copied.description) == (RUN, {"k": "v"}, "d")
    again = registry.copy_model_version(copied, "production")
    assert (again.version, again.source) == (2, "models:/production/1")
    registry.delete_registered_model("m")
    for number in (1, 2):
        assert registry.get_model_version_download_uri("production", number) == "s3://b/one"
    _fails("INTERNAL_ERROR", _add, registry, "production", "models:/gone/1")
    _fails("INTERNAL_ERROR", _add, registry, "production", "models:/production/Staging")


@pytest.fixture
def logged(registry: Any, tracking: Any, store_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A logged model of a run; MLflow's SQL store asks the tracking server of the environment for it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store_uri)
    _make(registry, "m")
    run = tracking.create_run("0", "me", 1_700_000_000_000, [], "brisk-heron")
    return tracking.create_logged_model("0", name="logged", source_run_id=run.info.run_id)


def test_a_version_of_a_logged_model_uses_the_files_of_the_model(registry: Any, logged: Any) -> None:
    made = _add(registry, source=f"models:/{logged.model_id}", model_id=logged.model_id)
    assert (made.source, made.run_id) == (f"models:/{logged.model_id}", logged.source_run_id)
    assert registry.get_model_version_download_uri("m", 1) == logged.artifact_location
    registry.copy_model_version(made, "n")
    assert registry.get_model_version_download_uri("n", 1) == logged.artifact_location
    assert _add(registry, source="s3://b/m", model_id=logged.model_id).run_id == logged.source_run_id
    address = _add(registry, source=logged.artifact_location)
    assert (address.source, address.run_id) == (logged.artifact_location, None)
    assert registry.get_model_version_download_uri("m", 3) == logged.artifact_location


def test_a_version_of_a_missing_logged_model_is_refused(registry: Any, logged: Any) -> None:
    missing = f"m-{'0' * 32}"
    _fails("INTERNAL_ERROR", _add, registry, source=f"models:/{missing}")
    _fails(MISSING, _add, registry, source="s3://b/m", model_id=missing)
    assert registry.search_model_versions("name = 'm'") == []


def test_a_version_of_a_deleted_logged_model_is_refused(registry: Any, tracking: Any, logged: Any) -> None:
    tracking.delete_logged_model(logged.model_id)
    _fails("INTERNAL_ERROR", _add, registry, source=f"models:/{logged.model_id}", model_id=logged.model_id)
    _fails(MISSING, _add, registry, source="s3://b/m", model_id=logged.model_id)
    assert registry.search_model_versions("name = 'm'") == []


def test_a_version_is_noted_at_its_logged_model_unlike_in_mlflows_sql_store(
    registry: Any, logged: Any, store_uri: str
) -> None:
    made = _add(registry, source=f"models:/{logged.model_id}", model_id=logged.model_id)
    assert made.model_id == (logged.model_id if store_uri.startswith("mltrack:") else None)


def test_an_empty_description_is_none_in_mltrack(registry: Any, store_uri: str) -> None:
    made = registry.create_registered_model("m", description="")
    assert made.description == (None if store_uri.startswith("mltrack:") else "")


def test_aliases_must_be_ascii_in_mltrack(registry: Any, store_uri: str) -> None:
    _make(registry, "m")
    _add(registry)
    if store_uri.startswith("mltrack:"):
        _fails(INVALID, registry.set_registered_model_alias, "m", "größe", 1)
    else:
        registry.set_registered_model_alias("m", "größe", 1)


@pytest.mark.parametrize("source", ["s3://b/m", f"runs:/{RUN}/model", "/tmp/model", "mlflow-artifacts:/1/m"])
def test_other_sources_are_kept_unchanged(registry: Any, source: str) -> None:
    _make(registry, "m")
    assert _add(registry, source=source).source == source
    assert registry.get_model_version_download_uri("m", 1) == source


def test_files_of_a_moved_store_are_found(tmp_path: Path) -> None:
    registry = RegistryStore(f"mltrack://{tmp_path}/.mltrack")
    folder = tmp_path / ".mltrack" / "runs" / RUN / "artifacts"
    folder.mkdir(parents=True)
    _make(registry, "m")
    before = f"mltrack://{folder}/größe 1/model"
    assert _add(registry, source=before).source == f"{folder}/größe 1/model"
    _add(registry, source="models:/m/1")
    log = (tmp_path / ".mltrack" / "workspace" / "models.jsonl").read_text(encoding="utf-8")
    assert str(tmp_path) not in log and f"runs:/{RUN}/größe 1/model" in log
    shutil.move(tmp_path / ".mltrack", tmp_path / "moved")
    moved = RegistryStore(f"mltrack://{tmp_path}/moved")
    now = f"{tmp_path}/moved/runs/{RUN}/artifacts/größe 1/model"
    assert moved.get_model_version("m", 1).source == now
    assert [moved.get_model_version_download_uri("m", number) for number in (1, 2)] == [now, now]
    found: Any = moved.search_model_versions(f"source_path = '{now}'")
    assert [v.version for v in found] == [1]


def test_files_of_another_store_are_recorded_with_its_address(tmp_path: Path) -> None:
    registry = RegistryStore(f"mltrack://{tmp_path}/.mltrack")
    _make(registry, "m")
    other = f"mltrack:///elsewhere/runs/{RUN}/artifacts/model"
    assert _add(registry, source=other).source == registry.get_model_version_download_uri("m", 1) == other


# --- many at once ---


def _add_some(uri: str, times: int) -> None:
    registry = RegistryStore(uri)
    for _ in range(times):
        registry.create_model_version("m", "s3://b/m")


def test_eight_processes_that_add_versions_concurrently_get_distinct_numbers(tmp_path: Path) -> None:
    registry = RegistryStore(f"mltrack://{tmp_path}/.mltrack")
    _make(registry, "m")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mltrack.mlflow_plugin.registry.store"])
    workers = [context.Process(target=_add_some, args=(f"mltrack://{tmp_path}/.mltrack", 10)) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 8
    found: Any = registry.search_model_versions(order_by=["version_number"])
    assert [v.version for v in found] == list(range(1, 81))
