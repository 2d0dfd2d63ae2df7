"""`mltrack models`, `traces` and `artifacts`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mltrack.disk.codec import decode_line, encode_line
from mltrack.disk.filesystem import LOCAL
from mltrack.disk.line_types import MODEL
from mltrack.recording import current_store, fluent
from mltrack.storage.runs.edit import append_events
from mltrack.store import Store
from mltrack.values.datasets import model_output_event
from tests.support.command_line import Cli


@pytest.fixture
def with_files(small_store: Store) -> str:
    """A run with files in folders."""
    current_store.set_store(small_store.path)
    with fluent.start_run(run_name="with-files") as run:
        run.log_text("one\n", "model/a.txt")
        run.log_text("two\n", "model/deep/b.txt")
        run.log_text("three\n", "c.txt")
    return run.run_id


def test_files_are_listed_below_a_path(cli: Cli, with_files: str) -> None:
    assert [line.split()[0] for line in cli("artifacts", "ls", "with-files").out.splitlines()[1:]] == [
        "c.txt",
        "model/a.txt",
        "model/deep/b.txt",
    ]
    found = cli("artifacts", "ls", "with-files", "model/deep", "--json").json
    assert [(each["path"], each["size"]) for each in found] == [("model/deep/b.txt", 4)]
    missing = cli("artifacts", "ls", "with-files", "mod")  # a part of a name is not a folder
    assert (missing.code, "has no artifact 'mod'" in missing.err) == (4, True)


def test_a_file_a_folder_and_all_files_are_copied_out(
    cli: Cli, with_files: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "out"
    place.mkdir()
    monkeypatch.chdir(place)
    assert cli("artifacts", "get", "with-files", "model/deep").code == 0
    assert (place / "deep" / "b.txt").read_text() == "two\n"
    assert cli("artifacts", "get", "with-files", "c.txt", "-o", "renamed.txt").code == 0
    assert (place / "renamed.txt").read_text() == "three\n"
    assert cli("artifacts", "get", "with-files", "-o", "all").code == 0
    assert (place / "all" / "model" / "deep" / "b.txt").read_text() == "two\n"
    assert cli("artifacts", "get", "with-files", "c.txt", "-o", "-").out == "three\n"


def test_a_file_that_exists_is_replaced_only_if_that_is_asked_for(cli: Cli, with_files: str, tmp_path: Path) -> None:
    taken = tmp_path / "taken.txt"
    taken.write_text("mine")
    refused = cli("artifacts", "get", "with-files", "c.txt", "-o", str(taken))
    assert (refused.code, taken.read_text()) == (2, "mine")
    assert "exists already" in refused.err
    assert cli("artifacts", "get", "with-files", "c.txt", "-o", str(taken), "--overwrite").code == 0
    assert taken.read_text() == "three\n"


def test_a_link_in_the_way_is_replaced_and_not_followed(cli: Cli, with_files: str, tmp_path: Path) -> None:
    target = tmp_path / "target.txt"
    target.write_text("mine")
    (tmp_path / "link.txt").symlink_to(target)
    words = ("artifacts", "get", "with-files", "c.txt", "-o", str(tmp_path / "link.txt"))
    assert cli(*words).code == 2
    assert cli(*words, "--overwrite").code == 0
    assert target.read_text() == "mine"


def test_versions_are_registered_promoted_and_shown(cli: Cli, with_files: str) -> None:
    assert "none yet" in cli("models", "ls").err
    assert "spiral version 1 is runs:/" in cli("models", "register", "with-files", "model", "spiral", "-a", "best").out
    assert cli("models", "register", "with-files", "model/deep", "spiral").code == 0
    assert cli("models", "promote", "spiral", "2", "best").out == "spiral version 2 is best now (before: version 1)\n"
    assert cli("models", "ls").out.splitlines()[1].split()[:3] == ["spiral", "2", "best=2"]
    shown = cli("models", "show", "spiral", "--json").json
    assert [(each["version"], each["aliases"]) for each in shown["versions"]] == [(2, ["best"]), (1, [])]
    assert cli("models", "show", "spiral").code == 0
    assert cli("models", "demote", "spiral", "best").out == "spiral version 2 is no longer best\n"
    assert cli("models", "show", "spiral", "--json").json["aliases"] == {}


@pytest.mark.parametrize(
    "words",
    [
        ["models", "show", "nosuch"],
        ["models", "promote", "nosuch", "1", "best"],
        ["models", "register", "with-files", "nosuch", "spiral"],
        ["artifacts", "get", "with-files", "nosuch"],
        ["traces", "show", "tr-nosuch"],
        ["traces", "ls", "-e", "nosuch"],
    ],
)
def test_what_does_not_exist_is_named(cli: Cli, with_files: str, words: list[str]) -> None:
    done = cli(*words)
    assert done.code == 4
    assert "nosuch" in done.err


def test_traces_are_listed_filtered_and_shown(cli: Cli, small_store: Store) -> None:
    experiment = small_store.workspace.by_name("spirals")
    assert experiment is not None
    made = [f"tr-{number:032x}" for number in (1, 2)]
    for number, trace_id in enumerate(made):
        head = {"request_time": 1_700_000_000_000 + number, "state": "ERROR" if number else "OK"}
        tags = {"step": str(number)}
        small_store.traces.add(
            experiment.experiment_id,
            {"type": "info", "trace_id": trace_id, "request_preview": "what\nnow", "tags": tags, **head},
        )
    assert [each["trace_id"] for each in cli("traces", "ls", "--json").json] == made[::-1]
    assert [each["trace_id"] for each in cli("traces", "ls", "--state", "OK", "--json").json] == made[:1]
    assert [each["trace_id"] for each in cli("traces", "ls", "-t", "step=1", "--json").json] == made[1:]
    assert "1 older trace not shown" in cli("traces", "ls", "-n", "1").err
    assert "what now" in cli("traces", "show", "tr-" + "0" * 31 + "2").out
    assert f"spirals ({experiment.experiment_id})" in cli("traces", "show", made[0]).out
    assert cli("traces", "show", made[0], "--json").json["state"] == "OK"
    assert cli("traces", "show", "tr-0000").code == 2  # two begin so
    assert cli("traces", "ls", "-t", "step").code == 2


def test_json_may_be_asked_for_before_the_command(cli: Cli) -> None:
    assert cli("--json", "ls").json == cli("ls", "--json").json
    assert json.loads(cli("--json", "remote", "ls").out) == []
    refused = cli("--json", "completion", "bash")
    assert (refused.code, "mltrack completion prints no JSON" in refused.err) == (2, True)


def test_files_are_chosen_by_a_pattern(cli: Cli, with_files: str) -> None:
    assert [each["path"] for each in cli("artifacts", "ls", "with-files", "model/*.txt", "--json").json] == [
        "model/a.txt",
        "model/deep/b.txt",
    ]


def test_the_files_of_a_model_are_listed_and_copied_with_the_run_that_made_it(
    cli: Cli, small_store: Store, with_files: str
) -> None:
    models = small_store.logged_models
    made = models.create("0", "net", source_run_id=with_files)
    folder = models.folder(made.model_id).artifacts
    folder.mkdir(parents=True)
    (folder / "weights.bin").write_bytes(b"1234")
    models.add_artifacts(made.model_id, [("weights.bin", 4, "")])
    append_events(small_store.layout, with_files, model_output_event(made.model_id, 0), LOCAL)
    found = {each["path"]: each["size"] for each in cli("artifacts", "ls", "with-files", "--json").json}
    assert found["net/weights.bin"] == 4
    assert cli("artifacts", "get", "with-files", "net/weights.bin", "-o", "-").out == "1234"
    assert "net" in cli("show", "with-files").out.partition("\nModels\n")[2]


@pytest.mark.parametrize("name", ["..", ".", "../up", "a/b", "/away", "a\\b", ""])
def test_the_name_of_a_model_leads_no_file_elsewhere(
    name: str, cli: Cli, small_store: Store, with_files: str, tmp_path: Path
) -> None:
    models = small_store.logged_models
    made = models.create("0", "net", source_run_id=with_files)
    log = models.folder(made.model_id).path / "model.jsonl"
    held = [decode_line(line, MODEL) for line in log.read_bytes().splitlines()]
    log.write_bytes(b"".join(encode_line({**each, **({"name": name} if "name" in each else {})}) for each in held))
    folder = models.folder(made.model_id).artifacts
    folder.mkdir(parents=True)
    (folder / "weights.bin").write_bytes(b"1234")
    models.add_artifacts(made.model_id, [("weights.bin", 4, "")])
    append_events(small_store.layout, with_files, model_output_event(made.model_id, 0), LOCAL)
    assert cli("artifacts", "get", with_files, "-o", str(tmp_path / "one" / "out")).code == 0
    (found,) = (path for path in tmp_path.rglob("weights.bin") if path.parent != folder)
    assert found == tmp_path / "one" / "out" / made.model_id / "weights.bin"


def test_a_time_that_no_calendar_has_hides_no_other_trace(cli: Cli, small_store: Store) -> None:
    for trace_id, time in (("tr-good", 1_700_000_000_000), ("tr-bad", 1_700_000_000_000_000_000)):
        small_store.traces.add("0", {"type": "info", "trace_id": trace_id, "request_time": time, "state": "OK"})
    small_store.traces.close()
    listed = cli("traces", "ls").out
    assert "tr-good" in listed
    assert "1700000000000000000 ms" in listed
    for words in (["show", "tr-bad"], ["ls", "--json"], ["show", "tr-bad", "--json"]):
        assert cli("traces", *words).code == 0


def test_lists_take_filters(cli: Cli, with_files: str) -> None:
    assert cli("models", "register", "with-files", "model", "net").code == 0
    assert [each["name"] for each in cli("models", "ls", "n*", "--json").json] == ["net"]
    assert "no model matches" in cli("models", "ls", "x*").err
    assert "'team' is not KEY=VALUE" in cli("models", "ls", "--tag", "team").err
    assert [each["name"] for each in cli("experiments", "-f", "name = 'spirals'", "--json").json] == ["spirals"]
    assert "no experiment matches" in cli("experiments", "-f", "name = 'x'").err
