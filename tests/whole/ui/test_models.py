"""The pages of logged models, registered models and prompts."""

from __future__ import annotations

import pytest

from tests.support.ui.looking import Look

pytestmark = pytest.mark.browser


def test_logged_models_of_an_experiment_are_listed_and_shown(look: Look, ui_experiments: dict[str, str]) -> None:
    look.open(f"/experiments/{ui_experiments['full']}/models")
    look.shows("doubled", "Ready", "full-run", "doubler")
    look.shot("logged-models")
    look.choose("doubled")
    look.shows("About this logged model", "factor", "quality", "0.875", "doubler")
    look.shot("logged-model")
    look.choose("Artifacts")
    look.choose("MLmodel")
    look.shows("python_function")
    look.shot("logged-model-files")


def test_registered_models_are_listed_and_shown(look: Look) -> None:
    look.open("/models")
    look.shows("doubler", "Version 2", "@ champion")
    look.shot("registry")
    look.choose("doubler")
    look.shows("doubles", "kind", "toy", "Version 1", "Version 2", "@ champion")
    look.shot("registered-model")
    look.choose("Version 1")
    look.shows("full-run", "doubled", "@ champion", "checked", "yes", "Inputs (1)", "Outputs (1)")
    look.shot("model-version")


def test_a_registered_model_is_described_tagged_and_given_an_alias(look: Look) -> None:
    look.open("/models/doubler")
    look.choose("Edit")
    look.page.locator("textarea").first.fill("it *really* doubles")
    look.click("Save")
    look.shows("really")
    look.page.get_by_placeholder("Name").fill("owner")
    look.page.get_by_placeholder("Value").fill("ada")
    look.click("Add", exact=True)
    look.shows("owner", "ada")
    look.page.get_by_role("row", name="Version 2").get_by_role("button", name="Add").last.click()
    for _ in range(5):  # the page takes Enter only once it has drawn what was typed
        look.dialog().get_by_role("combobox").fill("challenger")
        look.page.wait_for_timeout(500)
        look.page.keyboard.press("Enter")
        look.page.wait_for_timeout(500)
        if look.dialog().get_by_text("challenger").count():
            break
    look.dialog().get_by_role("button", name="Save").click()
    look.shows("@ challenger")
    look.page.reload()
    look.shows("really", "ada", "@ challenger", "@ champion")
    look.shot("registered-model-edited")


def test_prompts_are_listed_shown_and_created(look: Look) -> None:
    look.open("/prompts")
    look.shows("greeter", "Version 2")
    look.shot("prompts")
    look.choose("greeter")
    look.shows("Viewing version 2", "warmer", "Greet {{name}} very kindly.")
    look.shot("prompt")
    look.open("/prompts")
    look.click("Create prompt")
    look.dialog().get_by_placeholder("Provide an unique").fill("farewell")
    look.dialog().locator("textarea").first.fill("Goodbye {{name}}")
    look.dialog().get_by_role("button", name="Create").click()
    look.shows("farewell", "Viewing version 1", "Goodbye {{name}}")
    look.shot("prompt-made")


def test_prompts_are_not_listed_as_models(look: Look) -> None:
    look.open("/models")
    look.shows("doubler")
    look.lacks("greeter")


def test_versions_of_a_prompt_are_compared(look: Look) -> None:
    look.open("/prompts/greeter")
    look.choose("Compare")
    look.shows("Comparing version 2 with version 1", "Greet {{name}} kindly.", "Greet {{name}} very kindly.")
    look.shot("prompt-compared")
