"""check, as a command."""

from __future__ import annotations

import shutil
from pathlib import Path

from mltrack.store import Store
from tests.support.command_line import Cli


def test_check_of_a_sound_store_says_so(cli: Cli) -> None:
    said = cli("check")
    assert said.code == 0
    assert said.out.startswith("no problems found: 3 runs, 63 points, 8 artifacts")


def test_check_says_what_is_wrong_and_where_and_exits_with_1(cli: Cli, store_with_damage: str) -> None:
    said = cli("check")
    assert said.code == 1
    assert f"error: {store_with_damage}" in said.out
    found = cli("check", "--json").json
    assert found["sound"] is False
    assert found["findings"][0]["path"] == store_with_damage
    assert found["findings"][0]["advice"]


def test_check_of_given_runs_reads_only_these(cli: Cli, store_with_damage: str, small_store: Store) -> None:
    sound = next(run.info.run_name for run in small_store.runs() if run.run_id not in store_with_damage)
    assert cli("check", sound).code == 0
    assert cli("check", "nosuch").code == 4


def test_check_without_a_store_says_so(cli: Cli, tmp_path: object) -> None:
    assert cli("check", "--store", f"{tmp_path}/none").code == 4


def test_check_continues_although_store_json_is_damaged(cli: Cli, small_store: Store) -> None:
    path = small_store.path / "store.json"
    path.write_bytes(path.read_bytes()[:-10])
    said = cli("check")
    assert said.code == 1
    assert "store.json" in said.out
    assert "3 runs, 63 points" in said.out


def test_a_store_is_repaired_from_a_copy(cli: Cli, small_store: Store, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(small_store.path, copy)
    (events,) = (small_store.run("spirals-2").folder.events).iterdir()
    data = bytearray(events.read_bytes())
    data[len(data) // 2] ^= 1
    events.write_bytes(data)
    alone = cli("repair", "--json")
    assert (alone.code, alone.json["restored"], alone.json["left"]["sound"]) == (1, [], False)
    mended = cli("repair", "--from", str(copy))
    assert mended.code == 0, mended.err
    assert f"restored {events.relative_to(small_store.path)}" in mended.out
    assert cli("check").code == 0
