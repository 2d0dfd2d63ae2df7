"""The pages of logged models, registered models and prompts."""

from __future__ import annotations

import pytest

from tests.support.ui.looking import Look

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]  # the first one makes thousands of runs


def test_logged_models_of_an_experiment_are_listed_and_shown(look: Look, ui_experiments: dict[str, str]) -> None:
    look.open(f"/experiments/{ui_experiments['full']}/models")
    look.shows("doubled", "Ready", "full-run", "doubler")
    look.shot("logged-models")
    look.choose("doubled", then="About this logged model")
    look.shows("About this logged model", "factor", "quality", "0.875", "doubler")
    look.shot("logged-model")
    look.choose("Artifacts", then="MLmodel")
    look.choose("MLmodel", then="python_function")
    look.shot("logged-model-files")


def test_registered_models_are_listed_and_shown(look: Look) -> None:
    look.open("/models")
    look.shows("doubler", "Version 2", "@ champion")
    look.shot("registry")
    look.choose("doubler", then="Created Time")
    look.shows("doubles", "kind", "toy", "Version 1", "Version 2", "@ champion")
    look.shot("registered-model")
    look.choose("Version 1", then="Inputs (1)")
    look.shows("full-run", "doubled", "@ champion", "checked", "yes", "Inputs (1)", "Outputs (1)")
    look.shot("model-version")


def test_a_registered_model_is_described_tagged_and_given_an_alias(look: Look) -> None:
    look.open("/models/doubler")
    look.choose("Edit", then=look.page.locator("textarea"))
    look.fill(look.page.locator("textarea"), "it *really* doubles")
    look.click("Save", then=look.sent("registered-models/update"))
    look.shows("really")
    look.fill(look.page.get_by_placeholder("Name"), "owner")
    look.fill(look.page.get_by_placeholder("Value"), "ada")
    look.click("Add", then=look.sent("registered-models/set-tag"), exact=True)
    look.shows("owner", "ada")
    look.press(look.page.get_by_role("row", name="Version 2").get_by_role("button", name="Add").last, look.dialog())
    look.enter(look.dialog().get_by_role("combobox"), "challenger", then=look.dialog().get_by_text("@ challenger"))
    look.press(look.dialog().get_by_role("button", name="Save"), then=look.sent("registered-models/alias"))
    look.reload()  # MLflow's own page does not read its list again
    look.shows("really", "ada", "@ challenger", "@ champion")
    look.shot("registered-model-edited")


def test_prompts_are_listed_shown_and_created(look: Look) -> None:
    look.open("/prompts")
    look.shows("greeter", "Version 2")
    look.shot("prompts")
    look.choose("greeter", then="Viewing version 2")
    look.shows("warmer", "Greet {{name}} very kindly.")
    look.shot("prompt")
    look.open("/prompts")
    look.click("Create prompt", then=look.dialog())
    look.fill(look.dialog().get_by_placeholder("Provide an unique"), "farewell")
    look.fill(look.dialog().locator("textarea"), "Goodbye {{name}}")
    look.press(look.dialog().get_by_role("button", name="Create"), then=look.sent("registered-models/create"))
    look.shows("farewell", "Viewing version 1", "Goodbye {{name}}")
    look.shot("prompt-made")


def test_prompts_are_not_listed_as_models(look: Look) -> None:
    look.open("/models")
    look.shows("doubler")
    look.lacks("greeter")


def test_versions_of_a_prompt_are_compared(look: Look) -> None:
    look.open("/prompts/greeter")
    look.choose("Compare", then="Comparing version 2 with version 1")
    look.shows("Greet {{name}} kindly.", "Greet {{name}} very kindly.")
    look.shot("prompt-compared")
