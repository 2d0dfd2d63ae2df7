"""The pages of traces."""

from __future__ import annotations

import re

import pytest

from tests.support.ui.looking import Look

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]  # the first one makes thousands of runs


def test_traces_are_listed_with_their_state(look: Look, ui_experiments: dict[str, str]) -> None:
    look.open(f"/experiments/{ui_experiments['traced']}/traces")
    look.shows('{"question": "question 9"}', '"it is in a page about question 9"', "OK", "Error", "11 of 11")
    look.shot("traces")


def test_a_trace_shows_its_spans_and_assessments(look: Look, ui_experiments: dict[str, str]) -> None:
    look.open(f"/experiments/{ui_experiments['traced']}/traces")
    look.choose('{"question": "question 9"}', then=look.text("look_up"))
    look.shows("answer", "look_up", "it is in a page about question 9")
    look.shot("trace")
    look.choose("look_up", then=re.compile("^.?a page about question 9"))
    look.shot("trace-span")


def test_a_trace_that_failed_shows_the_exception(look: Look, ui_experiments: dict[str, str]) -> None:
    look.open(f"/experiments/{ui_experiments['traced']}/traces")
    look.choose('{"question": "broken"}', then="Events")
    look.shows("answer", "nobody knows", "ValueError")
    look.shot("trace-failed")


def test_an_assessment_is_edited_and_the_edit_stays(look: Look, ui_experiments: dict[str, str]) -> None:
    look.open(f"/experiments/{ui_experiments['traced']}/traces")
    look.choose('{"question": "broken"}', then=look.part("assessments-pane-toggle"))
    look.press(look.part("assessments-pane-toggle"), then=look.part("toggle-assessment-expanded"))
    look.press(look.part("toggle-assessment-expanded"), then=look.part("assessment-more-button"))
    edit = look.page.get_by_role("menuitem", name="Edit")
    look.pick(look.part("assessment-more-button"), edit, then=look.part("assessment-edit-rationale-input"))
    look.fill(look.part("assessment-edit-rationale-input"), "looked at again")
    look.shot("assessment-edited")
    look.press(look.part("assessment-edit-save-button"), then=look.sent("/assessments"))
    look.reload()
    look.press(look.part("assessments-pane-toggle"), then=look.part("toggle-assessment-expanded"))
    look.press(look.part("toggle-assessment-expanded"), then="looked at again")
    look.shot("assessment-kept")
