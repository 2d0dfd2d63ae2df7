"""Prompts, which MLflow keeps in the model registry, by the same assertions on both stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException


@pytest.fixture(autouse=True)
def here(store_uri: str, tracking: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's functions work on the one store and then on the other."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store_uri)


def _fails(code: str, call: Any, *args: Any, **kwargs: Any) -> None:
    with pytest.raises(MlflowException) as caught:
        call(*args, **kwargs)
    assert caught.value.error_code == code


def test_a_prompt_is_registered_in_versions_and_loaded() -> None:
    first = mlflow.genai.register_prompt("greet", "Hello {{name}}", commit_message="first", tags={"lang": "en"})
    second = mlflow.genai.register_prompt("greet", "Hi {{name}}")
    assert (first.version, second.version) == (1, 2)
    loaded = mlflow.genai.load_prompt("prompts:/greet/1")
    assert (loaded.template, loaded.commit_message, loaded.tags) == ("Hello {{name}}", "first", {"lang": "en"})
    assert loaded.format(name="Ada") == "Hello Ada"
    assert mlflow.genai.load_prompt("greet", version=2).template == "Hi {{name}}"
    assert mlflow.genai.load_prompt("greet").version == 2


def test_a_chat_prompt_keeps_its_messages_and_its_response_format() -> None:
    messages = [{"role": "system", "content": "Be {{mood}}"}, {"role": "user", "content": "{{question}}"}]
    form = {"type": "object", "properties": {"answer": {"type": "string"}}}
    mlflow.genai.register_prompt("chat", messages, response_format=form)
    loaded = mlflow.genai.load_prompt("chat", version=1)
    assert (loaded.template, loaded.response_format) == (messages, form)


def test_an_alias_of_a_prompt_is_moved_and_deleted() -> None:
    for text in ("one", "two"):
        mlflow.genai.register_prompt("p", text)
    mlflow.genai.set_prompt_alias("p", "production", 1)
    assert mlflow.genai.load_prompt("prompts:/p@production", cache_ttl_seconds=0).template == "one"
    mlflow.genai.set_prompt_alias("p", "production", 2)
    assert mlflow.genai.load_prompt("prompts:/p@production", cache_ttl_seconds=0).template == "two"
    assert MlflowClient().get_prompt_version("p", 2).aliases == ["production"]
    mlflow.genai.delete_prompt_alias("p", "production")
    _fails("INVALID_PARAMETER_VALUE", mlflow.genai.load_prompt, "prompts:/p@production", cache_ttl_seconds=0)


def test_prompts_are_found_by_name_and_tag_and_separately_from_models() -> None:
    client = MlflowClient()
    client.create_registered_model("a model")
    for name, tags in {"a": {"team": "x"}, "b": {"team": "y"}}.items():
        client.create_prompt(name, description=f"prompt {name}", tags=tags)
        mlflow.genai.register_prompt(name, "text")
    found = mlflow.genai.search_prompts()
    assert [(prompt.name, prompt.description) for prompt in found] == [("a", "prompt a"), ("b", "prompt b")]
    assert [prompt.name for prompt in mlflow.genai.search_prompts("name ILIKE 'B%'")] == ["b"]
    assert [prompt.name for prompt in mlflow.genai.search_prompts("tags.team = 'x'")] == ["a"]
    assert [model.name for model in client.search_registered_models()] == ["a model"]
    assert list(client.search_model_versions("name = 'a'")) == []
    assert [version.version for version in client.search_prompt_versions("a")] == [1]


def test_tags_of_prompts_and_their_versions_can_change() -> None:
    mlflow.genai.register_prompt("p", "text")
    mlflow.genai.set_prompt_tag("p", "team", "x")
    mlflow.genai.set_prompt_version_tag("p", 1, "checked", "yes")
    assert mlflow.genai.get_prompt_tags("p")["team"] == "x"
    assert MlflowClient().get_prompt_version("p", 1).tags == {"checked": "yes"}
    mlflow.genai.delete_prompt_tag("p", "team")
    mlflow.genai.delete_prompt_version_tag("p", 1, "checked")
    assert "team" not in mlflow.genai.get_prompt_tags("p")
    assert MlflowClient().get_prompt_version("p", 1).tags == {}


def test_a_prompt_and_a_model_cannot_share_a_name() -> None:
    client = MlflowClient()
    client.create_registered_model("m")
    with pytest.raises(MlflowException, match="model"):
        mlflow.genai.register_prompt("m", "text")
    mlflow.genai.register_prompt("p", "text")
    _fails("RESOURCE_ALREADY_EXISTS", client.create_registered_model, "p")
    _fails("RESOURCE_ALREADY_EXISTS", client.create_prompt, "p")


def test_a_missing_prompt_is_not_found() -> None:
    assert mlflow.genai.load_prompt("nothing", version=1, allow_missing=True) is None
    _fails("RESOURCE_DOES_NOT_EXIST", mlflow.genai.load_prompt, "prompts:/nothing/1")
    assert MlflowClient().get_prompt("nothing") is None


def test_a_prompt_is_deleted_with_its_versions() -> None:
    client = MlflowClient()
    mlflow.genai.register_prompt("p", "one")
    mlflow.genai.register_prompt("p", "two")
    client.delete_prompt_version("p", "1")
    _fails("RESOURCE_DOES_NOT_EXIST", mlflow.genai.load_prompt, "prompts:/p/1", cache_ttl_seconds=0)
    client.delete_prompt_version("p", "2")
    client.delete_prompt("p")
    assert list(mlflow.genai.search_prompts()) == []
