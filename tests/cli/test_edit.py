"""`mltrack tag`, `rename` and `note`."""

from __future__ import annotations

import pytest

from mltrack.store import Store
from tests.support.command_line import Cli


def test_tags_are_set_and_removed_on_several_runs(cli: Cli, small_store: Store) -> None:
    assert cli("tag", "spirals-1", "spirals-2", "good=yes", "why=a=b").code == 0
    assert small_store.run("spirals-2").tags["good"] == "yes"
    assert small_store.run("spirals-1").tags["why"] == "a=b"
    assert cli("tag", "spirals-1", "-d", "good", "--json").json["removed"] == ["good"]
    assert "good" not in small_store.run("spirals-1").tags
    assert small_store.run("spirals-2").tags["good"] == "yes"


def test_an_experiment_is_tagged_and_renamed(cli: Cli, small_store: Store) -> None:
    assert cli("tag", "-x", "spirals", "team=a").code == 0
    assert cli("rename", "-x", "spirals", "arms").code == 0
    found = small_store.workspace.by_name("arms")
    assert found is not None and found.tags["team"] == "a"
    assert cli("ls", "-e", "arms", "--json").json


def test_a_run_is_found_by_its_new_name(cli: Cli, small_store: Store) -> None:
    run_id = small_store.run("spirals-1").run_id
    assert f"{run_id} spirals-1 is now baseline" in cli("rename", "spirals-1", "baseline").out
    assert small_store.run("baseline").run_id == run_id


def test_a_note_is_written_shown_and_removed(cli: Cli) -> None:
    assert "no note yet" in cli("note", "spirals-1").err
    assert cli("note", "spirals-1", "first line\nsecond").out == "first line\nsecond\n"
    assert cli("note", "spirals-1", "--json").json["note"] == "first line\nsecond"
    assert "the note is removed" in cli("note", "spirals-1", "").out
    assert cli("note", "spirals-1", "--json").json["note"] == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tag", "spirals-1"], "no tag is given"),
        (["tag", "key=value"], "no run is named"),
        (["tag", "spirals-1", "=value"], "a tag needs a name"),
        (["rename", "spirals-1", " "], "the new name is empty"),
        (["note", "spirals-1", "text", "--edit"], "can't be used together"),
    ],
)
def test_what_is_missing_is_said_and_nothing_is_changed(cli: Cli, words: list[str], said: str) -> None:
    done = cli(*words)
    assert done.code == 2
    assert said in done.err


def test_with_one_wrong_name_nothing_is_tagged(cli: Cli, small_store: Store) -> None:
    assert cli("tag", "spirals-1", "nosuch", "good=yes").code == 4
    assert "good" not in small_store.run("spirals-1").tags


def test_no_editor_is_opened_where_there_is_no_terminal(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VISUAL", "EDITOR"):
        monkeypatch.delenv(name, raising=False)
    said = cli("note", "spirals-1", "--edit")
    assert said.code == 2
    assert "an editor needs a terminal" in said.err
