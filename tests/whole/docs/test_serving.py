"""The page on serving: a scikit-learn model registered in the store answers a request over HTTP."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.pages import Page

pytestmark = pytest.mark.slow


def test_a_registered_model_answers_a_request(tmp_path: Path) -> None:
    page = Page("serving.md", tmp_path)
    assert page.run(page.commands("python train.py")) == "models:/iris/1 is the champion\n"
    (answer,) = [block.text for block in page.blocks if block.language == "text"]
    with page.started(page.elsewhere("mltrack serve")) as server:
        assert server.stdout is not None
        # on a busy machine lines that say what is waited for come first
        url = next(found for line in server.stdout if (found := re.search(r"answers at (http://\S+)", line)))
        ask, shown_url = page.elsewhere("python ask.py").rsplit(" ", 1)
        assert shown_url.endswith("/invocations")
        assert page.run(f"{ask} {url[1]}") == answer
        server.terminate()
        assert server.wait() == 0
