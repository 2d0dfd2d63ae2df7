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
