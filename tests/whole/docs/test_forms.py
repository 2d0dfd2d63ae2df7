"""The forms that a host shows for a new issue."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support import ROOT

FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


@pytest.mark.parametrize("form", [form for form in FORMS if form.name != "config.yml"], ids=lambda form: form.name)
def test_a_form_has_what_a_host_needs(form: Path) -> None:
    fields = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert fields["name"] and fields["description"]
    asked = [part for part in fields["body"] if part["type"] != "markdown"]
    assert len({part["id"] for part in asked}) == len(asked)
    assert all(part["attributes"]["label"] for part in asked)
    assert any(part.get("validations", {}).get("required") for part in asked)


def test_a_bug_is_asked_for_version_store_format_and_check() -> None:
    text = (ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml").read_text(encoding="utf-8")
    for wanted in ("mltrack --version", "mltrack check", ".mltrack/store.json"):
        assert wanted in text
