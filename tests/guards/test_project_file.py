"""Guards from mltrack.toml, and from code."""

from __future__ import annotations

from pathlib import Path

import pytest

from mltrack.errors import NotFoundError, UsageError
from mltrack.guards.project_file import find_project_file, project_guards, read_guards
from mltrack.guards.rules import Guard, as_guards, from_record, to_record, with_settings
from mltrack.text.redaction import hide
from tests.support import ROOT
from tests.support.pages import blocks


def written(folder: Path, text: str) -> Path:
    path = folder / "mltrack.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_guards_are_read_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", "T0ken-of-the-hook")
    path = written(
        tmp_path,
        """
        [other]
        answer = 42
        [guards]
        quick = "loss is NaN"
        [guards.diverged]
        when = "loss > 10 for 100 steps"
        stop = true
        tag = "diverged"
        command = "notify --now 'a b'"
        webhook = "https://hooks.example.org/$HOOK_SECRET"
        experiments = ["spirals"]
        [guards.slow]
        sql = "SELECT 1 FROM runs"
        """,
    )
    quick, diverged, slow = read_guards(path)
    assert (quick.name, quick.when, quick.actions) == ("quick", "loss is NaN", [])
    assert diverged.actions == ["stop", "tag", "command", "webhook"]
    assert diverged.command == ("notify", "--now", "a b")
    assert diverged.tags == {"diverged": "true"}
    assert diverged.webhook == "https://hooks.example.org/T0ken-of-the-hook"
    assert "T0ken-of-the-hook" not in hide(f"POST {diverged.webhook} failed")
    assert "T0ken" not in repr(diverged)
    assert diverged.concerns("spirals")
    assert not diverged.concerns("others")
    assert slow.when == "SELECT 1 FROM runs"
    assert from_record(to_record(diverged)) == diverged


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[guards", "is not TOML"),
        ("guards = 3", "guards is not a table"),
        ("[[guard]]\nrule = 'loss is NaN'", r"guards are tables \[guards.NAME\], not \[guard\]"),
        ("[guards.a]\nwhen = 'loss is NaN'\nstopp = true", r"\[guards.a\]: there is no setting 'stopp'"),
        ("[guards.a]\nwhen = 'loss is NaN'\nstop = 'yes'", "stop = 'yes', but it takes true or false"),
        ("[guards.a]\nstop = true", "needs one of when and sql"),
        ("[guards.a]\nwhen = 'loss is'", r"mltrack.toml, \[guards.a\]: rule 'loss is' is not understood"),
        ("[guards.a]\nwhen = 'a is NaN'\ncommand = \"echo 'a\"", r"\[guards.a\].*can't be split: No closing quotation"),
        ("[guards.a]\nwhen = 'a is NaN'\nwebhook = 'ftp://x'", "not an http or https URL"),
        ("[guards.a]\nwhen = 'a is NaN'\nwebhook = 'https://x/$NOT_SET_HERE'", "needs the variable NOT_SET_HERE"),
    ],
)
def test_a_mistake_is_said_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_guards(written(tmp_path, text))


def test_the_file_is_looked_for_upward_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    path = written(tmp_path, "guards.nan = 'loss is NaN'")
    assert find_project_file() == path
    found = project_guards()
    assert found is not None
    assert [guard.name for guard in found.guards] == ["nan"]
    assert find_project_file(inner / ("c" * 300)) == path  # a folder that can't be looked into hides none above it
    with pytest.raises(NotFoundError) as caught:
        project_guards(tmp_path / "none.toml")
    assert caught.value.hint == "name another: --guards PATH"


def test_commands_of_a_file_that_anybody_may_write_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, "[guards.nan]\nwhen = 'loss is NaN'\nstop = true\ncommand = 'rm -rf /'")
    path.chmod(0o666)
    found = project_guards()
    assert found is not None
    assert found.left_out == (f"commands and webhooks of {path}: others can write it",)
    assert found.guards[0].actions == ["stop"]


def test_a_webhook_whose_variable_is_not_set_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, "[guards.nan]\nwhen = 'loss is NaN'\nstop = true\nwebhook = 'https://x/$NOT_SET_HERE'")
    found = project_guards()
    assert found is not None
    assert found.left_out == (f"{path}, [guards.nan]: its webhook, as NOT_SET_HERE is not set",)
    assert found.guards[0].actions == ["stop"]


def test_the_rules_of_the_page_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", "T0ken-of-the-hook")
    (text,) = [block.text for block in blocks(ROOT / "docs" / "guards.md") if block.language == "toml"]
    guards = {guard.name: guard.actions for guard in read_guards(written(tmp_path, text))}
    assert guards == {
        "nan": ["stop"],
        "diverged": ["stop", "tag"],
        "stuck": ["command", "webhook"],
        "overfit": [],
    }


def test_settings_are_added_to_a_rule_given_as_text() -> None:
    (guard,) = as_guards(with_settings("loss is NaN", {"stop": True, "name": "nan"}))
    assert (guard.name, guard.actions) == ("nan", ["stop"])
    with pytest.raises(UsageError, match="no setting 'stopp'"):
        with_settings("loss is NaN", {"stopp": True})
    with pytest.raises(UsageError, match="two guards are called"):
        as_guards(["loss is NaN", Guard("loss is NaN")])
