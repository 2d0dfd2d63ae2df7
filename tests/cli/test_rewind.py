"""rewind and fork."""

from __future__ import annotations

from mltrack.store import Store
from tests.support.command_line import Cli


def points(cli: Cli, run: str) -> int:
    return int(cli("show", run, "--json").json["points"])


def test_rewind_hides_points_and_undo_shows_them_again(cli: Cli) -> None:
    before = points(cli, "spirals-1")
    said = cli("rewind", "spirals-1", "--to-step", "3", "--json").json
    assert said["change"] < 0
    assert points(cli, "spirals-1") == before + said["change"] == said["points"]
    shown = cli("show", "spirals-1", "--json").json
    assert [(one["step"], one["undone"]) for one in shown["rewinds"]] == [(3, False)]
    assert {run["run_name"]: run["points"] for run in cli("ls", "--json").json}["spirals-1"] == said["points"]
    assert all(int(line.split("\t")[1]) <= 3 for line in cli("tail", "spirals-1").out.splitlines())
    undone = cli("rewind", "spirals-1", "--undo")
    assert "undid the rewind of spirals-1 to step 3" in undone.out
    assert points(cli, "spirals-1") == before
    again = cli("rewind", "spirals-1", "--undo")
    assert (again.code, "no rewind to undo" in again.err) == (2, True)


def test_rewind_wants_a_step_or_undo(cli: Cli) -> None:
    assert cli("rewind", "spirals-1").code == 2
    assert cli("rewind", "spirals-1", "--to-step", "3", "--undo").code == 2
    assert cli("rewind", "spirals-1", "--to-step", str(1 << 63)).code == 2
    assert cli("rewind", "no-such-run", "--to-step", "3").code == 4


def test_fork_prints_the_id_of_a_run_that_waits_to_be_resumed(cli: Cli, small_store: Store) -> None:
    made = cli("fork", "spirals-1", "--at-step", "3", "--name", "second")
    run = small_store.run(made.out.strip())
    assert (run.info.run_name, run.info.status) == ("second", "SCHEDULED")
    assert run.point_count == small_store.run("spirals-1").point_count + int(
        cli("rewind", "spirals-1", "--to-step", "3", "--json").json["change"]
    )
    assert cli("show", "second", "--json").json["forked_from"]["step"] == 3
    assert "forked from" in cli("show", "second").out
    refused = cli("rm", "--purge", "--yes", "spirals-1")
    assert (refused.code, "was forked from" in refused.err) == (1, True)


def test_a_fork_that_waits_has_no_duration_and_the_program_of_its_parent(cli: Cli) -> None:
    made = cli("fork", "spirals-1", "--at-step", "9", "--json").json["run_id"]
    assert "duration" not in cli("show", made).out
    assert cli("diff", "spirals-1", made, "--json").json["command"] == []
