"""Registered models, versions, stages, aliases and tags in the store."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

import mltrack
from mltrack import NotFoundError, UsageError
from mltrack.disk.layout import Layout
from mltrack.disk.line_types import REGISTRY
from mltrack.disk.shared_log import SharedLog
from mltrack.errors import InvalidPathError
from mltrack.storage.registry.registry import Registry


@pytest.fixture
def registry(layout: Layout) -> Registry:
    ticks = count(1_700_000_000_000_000_000, 1_000_000)
    return Registry(layout, clock=lambda: next(ticks))


def test_a_new_registry_is_empty(registry: Registry) -> None:
    assert registry.models() == [] and registry.versions() == []


def test_a_model_is_visible_to_others_with_its_description_and_tags(registry: Registry, layout: Layout) -> None:
    registry.create_model("spirals", "two arms", {"team": "a"})
    found = Registry(layout, clock=lambda: 0).get_model("spirals")
    assert (found.description, found.tags, found.aliases) == ("two arms", {"team": "a"}, {})
    assert found.creation_time == 1_700_000_000_000


def test_a_model_name_can_be_used_only_once(registry: Registry) -> None:
    registry.create_model("m")
    with pytest.raises(UsageError, match="'m' exists already"):
        registry.create_model("m")


@pytest.mark.parametrize("name", ["", "  ", "a/b", "a:b", "x" * 257])
def test_names_that_no_model_uri_could_hold_are_refused(registry: Registry, name: str) -> None:
    with pytest.raises(UsageError, match="not a model name"):
        registry.create_model(name)


def test_version_numbers_increase_and_are_never_reused(registry: Registry) -> None:
    registry.create_model("m")
    assert [registry.create_version("m", f"runs:/r/{k}").version for k in range(3)] == [1, 2, 3]
    registry.delete_version("m", 3)
    assert registry.create_version("m", "runs:/r/x").version == 4
    assert [v.version for v in registry.versions("m")] == [1, 2, 4]


def test_a_version_of_a_missing_model_is_refused_unless_the_model_may_be_created(registry: Registry) -> None:
    with pytest.raises(NotFoundError, match="no registered model 'm'"):
        registry.create_version("m", "runs:/r/a")
    assert registry.create_version("m", "runs:/r/a", create_model=True).version == 1


def test_an_alias_can_move_and_is_deleted_with_its_version(registry: Registry) -> None:
    registry.create_model("m")
    for _ in range(2):
        registry.create_version("m", "runs:/r/a")
    registry.set_alias("m", "champion", 1)
    registry.set_alias("m", "champion", 2)
    assert registry.by_alias("m", "champion").version == 2
    assert [v.aliases for v in registry.versions("m")] == [(), ("champion",)]
    registry.delete_version("m", "2")
    with pytest.raises(NotFoundError, match="no alias 'champion'"):
        registry.by_alias("m", "champion")
    registry.delete_alias("m", "champion")


@pytest.mark.parametrize("alias", ["latest", "v12", "V1", "", "a b", "ä"])
def test_reserved_and_invalid_aliases_are_refused(registry: Registry, alias: str) -> None:
    registry.create_version("m", "runs:/r/a", create_model=True)
    with pytest.raises(UsageError, match="not an alias"):
        registry.set_alias("m", alias, 1)


def test_a_stage_can_archive_the_versions_that_hold_it(registry: Registry) -> None:
    registry.create_model("m")
    for _ in range(3):
        registry.create_version("m", "runs:/r/a")
    registry.set_stage("m", 1, "production")
    registry.set_stage("m", 2, "Staging")
    registry.set_stage("m", 3, "Production", archive_existing=True)
    assert [v.stage for v in registry.versions("m")] == ["Archived", "Staging", "Production"]
    assert [(v.version, v.stage) for v in registry.latest_versions("m")] == [
        (2, "Staging"),
        (3, "Production"),
        (1, "Archived"),
    ]
    with pytest.raises(UsageError, match="'Live' is not a stage"):
        registry.set_stage("m", 1, "Live")
    with pytest.raises(UsageError, match="not archived"):
        registry.set_stage("m", 1, "None", archive_existing=True)


def test_tags_and_descriptions_are_changed_and_deleted(registry: Registry) -> None:
    registry.create_version("m", "runs:/r/a", create_model=True, tags={"a": "1"})
    registry.set_version_tag("m", 1, "b", "2")
    registry.set_version_tag("m", 1, "a", None)
    registry.set_model_tag("m", "owner", "x")
    registry.update_model("m", "the model")
    version = registry.update_version("m", 1, "the version")
    assert (version.tags, version.description) == ({"b": "2"}, "the version")
    assert (registry.get_model("m").tags, registry.get_model("m").description) == ({"owner": "x"}, "the model")
    assert version.last_update_time > version.creation_time


def test_renaming_takes_versions_and_aliases_along(registry: Registry) -> None:
    registry.create_version("old", "runs:/r/a", create_model=True)
    registry.set_alias("old", "best", 1)
    registry.create_model("taken")
    with pytest.raises(UsageError, match="'taken' exists"):
        registry.rename_model("old", "taken")
    registry.rename_model("old", "new")
    assert registry.by_alias("new", "best").name == "new"
    assert registry.create_version("new", "runs:/r/b").version == 2
    with pytest.raises(NotFoundError):
        registry.get_model("old")


def test_a_deleted_model_is_gone_and_its_name_is_free(registry: Registry) -> None:
    registry.create_version("m", "runs:/r/a", create_model=True)
    registry.delete_model("m")
    assert registry.versions() == []
    registry.create_model("m")
    assert registry.create_version("m", "runs:/r/a").version == 1


def test_a_torn_last_line_is_ignored_and_a_bad_one_is_reported(registry: Registry, layout: Layout) -> None:
    registry.create_version("m", "runs:/r/a", create_model=True)
    registry.create_version("m", "runs:/r/b")
    path = layout.workspace / "models.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1].replace(b"runs", b"rubs") + lines[2][:-5])
    assert [v.version for v in registry.versions("m")] == []
    assert [error.offset for error in registry.damage] == [len(lines[0])]


def _add(root: Path, times: int) -> None:
    registry = Registry(Layout.open(root), clock=lambda: 0)
    for _ in range(times):
        registry.create_version("m", "runs:/r/a", create_model=True)


@pytest.mark.slow
def test_processes_that_add_versions_concurrently_get_distinct_numbers(layout: Layout) -> None:
    workers = [multiprocessing.get_context("spawn").Process(target=_add, args=(layout.root, 10)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    versions = Registry(layout, clock=lambda: 0).versions("m")
    assert [v.version for v in versions] == list(range(1, 31))


def test_additions_of_another_process_are_seen_and_nothing_is_read_twice(registry: Registry, layout: Layout) -> None:
    registry.create_version("m", "runs:/r/a", create_model=True)
    other = Registry(layout, clock=lambda: 0)
    assert [v.version for v in other.versions("m")] == [1]
    path = layout.workspace / "models.jsonl"
    told: list[str] = []
    log = SharedLog(path, REGISTRY, clock=lambda: 0)
    log.follow(lambda line: told.append(line["type"]), told.clear)
    with open(path, "ab") as file:
        file.write(b'{"crc":"00000000","half of a line')
    log.follow(lambda line: told.append(line["type"]), told.clear)
    assert told == ["create", "create_version"]
    registry.set_alias("m", "best", 1)
    log.follow(lambda line: told.append(line["type"]), told.clear)
    assert told == ["create", "create_version", "alias"]
    assert other.by_alias("m", "best").version == 1


@pytest.mark.parametrize("replaced", [False, True])
def test_a_log_that_was_restored_from_a_copy_is_read_again(registry: Registry, layout: Layout, replaced: bool) -> None:
    registry.create_version("m", "runs:/r/a", create_model=True)
    path = layout.workspace / "models.jsonl"
    copy = path.read_bytes()
    registry.create_version("m", "runs:/r/b")
    assert len(registry.versions("m")) == 2
    if replaced:
        path.unlink()
        assert registry.models() == []
    path.write_bytes(copy)
    assert [v.source for v in registry.versions("m")] == ["runs:/r/a"]
    registry.create_version("m", "runs:/r/c")
    path.write_bytes(copy.replace(b"runs:/r/a", b"runs:/r/x") + path.read_bytes())
    assert len(registry.versions("m")) == 2 and [error.offset for error in registry.damage] == [copy.find(b"\n") + 1]


def test_threads_may_share_a_registry(registry: Registry) -> None:
    registry.create_model("m")
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda k: registry.create_version("m", f"runs:/r/{k}").version, range(40)))
    assert sorted(numbers) == list(range(1, 41)) == [v.version for v in registry.versions("m")]


def test_a_version_updates_the_time_of_a_model_but_a_tag_or_alias_does_not(registry: Registry) -> None:
    made = registry.create_model("m").last_update_time
    registry.set_model_tag("m", "a", "1")
    assert registry.get_model("m").last_update_time == made
    version = registry.create_version("m", "runs:/r/a")
    registry.set_alias("m", "best", 1)
    registry.set_version_tag("m", 1, "a", "1")
    assert registry.get_model("m").last_update_time == version.last_update_time > made
    assert registry.get_version("m", 1).last_update_time == version.last_update_time


def test_a_run_registers_a_model_it_stored(layout: Layout) -> None:
    mltrack.set_store(layout.root)
    with mltrack.start_run() as run:
        run.log_text("weights", "model/weights.txt")
        version = run.register_model("spirals", "model", tags={"kind": 1})
        with pytest.raises(NotFoundError, match="no artifact 'nothing'"):
            run.register_model("spirals", "nothing")
        with pytest.raises(InvalidPathError):
            run.register_model("spirals", "../../events")
    assert (version.version, version.source, version.run_id) == (1, f"runs:/{run.run_id}/model", run.run_id)
    assert version.tags == {"kind": "1"}
    again = mltrack.register_model(f"runs:/{run.run_id}/model/weights.txt", "spirals")
    assert again.version == 2
    assert [v.version for v in mltrack.get_store().registry.versions("spirals")] == [1, 2]
    with pytest.raises(UsageError, match="is not the URI of an artifact of a run"):
        mltrack.register_model("s3://bucket/model", "spirals")
