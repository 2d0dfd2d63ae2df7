"""The pages of traces."""

from __future__ import annotations

import pytest

from tests.support.ui.looking import Look

pytestmark = pytest.mark.browser


def test_traces_are_listed_with_their_state(look: Look, ui_experiments: dict[str, str]) -> None:
    look.open(f"/experiments/{ui_experiments['traced']}/traces")
    look.shows('{"question": "question 9"}', '"it is in a page about question 9"', "OK", "Error", "11 of 11")
    look.shot("traces")


def test_a_trace_shows_its_spans_and_assessments(look: Look, ui_experiments: dict[str, str]) -> None:
    look.open(f"/experiments/{ui_experiments['traced']}/traces")
    look.choose('{"question": "question 9"}')
    look.shows("answer", "look_up", "it is in a page about question 9")
    look.shot("trace")
    look.choose("look_up")
    look.shows("a page about question 9")
    look.shot("trace-span")


def test_a_trace_that_failed_shows_the_exception(look: Look, ui_experiments: dict[str, str]) -> None:
    look.open(f"/experiments/{ui_experiments['traced']}/traces")
    look.choose('{"question": "broken"}')
    look.shows("answer", "Events", "nobody knows", "ValueError")
    look.shot("trace-failed")


def test_an_assessment_is_edited_and_the_edit_stays(look: Look, ui_experiments: dict[str, str]) -> None:
    look.open(f"/experiments/{ui_experiments['traced']}/traces")
    look.choose('{"question": "broken"}')
    look.click("Assess")
    for part in ("toggle-assessment-expanded", "assessment-more-button"):
        look.page.locator(f'[data-component-id="shared.model-trace-explorer.{part}"]').first.click()
    look.click("Edit", "menuitem")
    look.page.locator("textarea:visible").first.fill("looked at again")
    look.shot("assessment-edited")
    look.click("Save")
    look.settle()
    look.page.reload()
    look.click("Assess")
    look.page.locator('[data-component-id="shared.model-trace-explorer.toggle-assessment-expanded"]').first.click()
    look.shows("looked at again")
    look.shot("assessment-kept")
